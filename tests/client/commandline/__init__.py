"""Tests of `echoup.client.commandline`."""
