"""Tests of `echoup.client.ping.reports`."""
