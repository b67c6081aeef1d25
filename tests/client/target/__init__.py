"""Tests of `echoup.client.target`."""
