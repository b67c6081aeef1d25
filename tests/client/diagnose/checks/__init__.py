"""Tests of `echoup.client.diagnose.checks`."""
