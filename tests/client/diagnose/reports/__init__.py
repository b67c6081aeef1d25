"""Tests of `echoup.client.diagnose.reports`."""
