"""Tests of `echoup.server.admission`."""
