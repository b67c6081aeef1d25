"""Tests of `echoup.client.diagnose.longchecks`."""
