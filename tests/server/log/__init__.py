"""Tests of `echoup.server.log`."""
