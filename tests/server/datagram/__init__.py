"""Tests of `echoup.server.datagram`."""
