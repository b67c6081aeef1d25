"""Tests of `echoup.client.diagnose.datagrams`."""
