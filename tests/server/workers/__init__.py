"""Tests of `echoup.server.workers`."""
