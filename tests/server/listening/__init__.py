"""Tests of `echoup.server.listening`."""
