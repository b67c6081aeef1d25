"""Tests of `echoup.client.diagnose`."""
