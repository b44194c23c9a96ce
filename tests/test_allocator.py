"""Freed memory stays with the process; in a process of its own, since that cannot be taken back."""

import subprocess
import sys

import pytest

MEASURE = """
import sys, torch
from pathlib import Path
from spikevrt.allocator import keep_freed_memory

def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) * 1024

if sys.argv[1] == "keep":
    keep_freed_memory()
before = resident()
x = torch.ones(64 * 2**20)
del x
print(resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("way", ["keep", "return"])
def test_the_memory_of_a_freed_tensor(way):
    run = subprocess.run([sys.executable, "-c", MEASURE, way], capture_output=True, text=True, check=True)
    kept = int(run.stdout)
    assert (kept > 250 * 2**20) == (way == "keep"), kept
