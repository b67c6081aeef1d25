"""Tests of `echoup.tls`."""
