"""Tests of `echoup.client.diagnose.flowseries`."""
