"""Tests of the questions to nameservers."""
