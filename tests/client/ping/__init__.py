"""Tests of `echoup.client.ping`."""
