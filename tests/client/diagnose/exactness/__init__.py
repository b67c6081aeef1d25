"""Tests of `echoup.client.diagnose.exactness`."""
