"""Throughput and memory: `pytest bench --benchmark-only`, one file an operator or a pipeline, `bench_<what>.py`."""
