"""Tests of `echoup.server.status`."""
