"""Measure echoup beside other servers: `python -m benchmarks` runs it, docs/benchmarks.md explains it."""
