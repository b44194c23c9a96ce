"""Throughput and memory: `pytest bench --benchmark-only`, one file an operator or a pipeline, `bench_<what>.py`.

Its commands run from a checkout with any Python that has the packages: this is the way to the kernels' sources.
"""

import sys
from pathlib import Path

KERNELS = str(Path(__file__).resolve().parents[1] / "kernels")
if KERNELS not in sys.path:
    sys.path.insert(1, KERNELS)
