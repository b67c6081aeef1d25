"""Measure echoup and other servers side by side: run `python -m benchmarks`, and see docs/benchmarks.md."""
