"""Tests of `echoup diagnose` on paths with and without faults."""
