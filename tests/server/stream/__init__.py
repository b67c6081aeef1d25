"""Tests of `echoup.server.stream`."""
