"""echoup beside what people use instead; `python -m benchmarks` runs it, docs/benchmarks.md explains it."""
