"""Tests of `echoup.client.diagnose.sizes`."""
