"""Tests of `echoup.server.platform`."""
