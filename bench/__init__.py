"""Benchmarks of time and memory: `pytest bench --benchmark-only` runs `bench_<what>.py`, one file per subject.

Its commands run from a checkout that is not installed, so the folder of the kernels' sources is added to the path.
"""

import sys
from pathlib import Path

KERNELS = str(Path(__file__).resolve().parents[1] / "kernels")
if KERNELS not in sys.path:
    sys.path.insert(1, KERNELS)
