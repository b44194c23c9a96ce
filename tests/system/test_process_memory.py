"""Freed memory stays with the process; tested in a process of its own, because it cannot be undone."""

import os
import subprocess
import sys

import pytest

MEASURE = """
import sys, torch
from bench.results.measure import status_kib
from spikevrt.system.memory import keep_freed_memory

if sys.argv[1] == "keep":
    keep_freed_memory()
before = status_kib("VmRSS")
x = torch.ones(64 * 2**20)
del x
print((status_kib("VmRSS") - before) * 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("way", ["keep", "return"])
def test_the_memory_of_a_freed_tensor(way):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    line = [sys.executable, "-c", MEASURE, way]
    run = subprocess.run(line, env=environment, capture_output=True, text=True, check=True)
    kept = int(run.stdout)
    assert (kept > 250 * 2**20) == (way == "keep"), kept
