"""Tests of the prompt and the pipe."""
