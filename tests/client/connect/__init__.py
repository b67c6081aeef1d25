"""Tests of `echoup.client.connect`."""
