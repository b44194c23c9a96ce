"""Nsight Compute's figures: the command that takes them, and its CSV as bytes by kernel."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass

READ, WRITTEN = "dram__bytes_read.sum", "dram__bytes_write.sum"
UNITS = {"byte": 1, "Kbyte": 1e3, "Mbyte": 1e6, "Gbyte": 1e9, "Tbyte": 1e12}
OURS = "regex:^(temporal_|window_attention)"
BACKWARD = "_bwd"
"""In the names of backward kernels."""
FIRST_COLUMN = '"ID"'
ERROR = "==ERROR=="


@dataclass
class Moved:
    """DRAM bytes of all launches of one kernel, as the GPU counted them.

    What a kernel leaves in the L2 cache is written later and not counted: with tensors below the cache's size
    (50 MB on an H100) the written bytes are too few.
    """

    kernel: str
    launches: int = 0
    read: float = 0.0
    written: float = 0.0

    @property
    def backward(self) -> bool:
        """Of the backward's kernels."""
        return BACKWARD in self.kernel


def ncu_command(ncu: str, log: str, child: Sequence[str]) -> list[str]:
    """Profile our kernels of a process between its calls of CUDA's profiler; the CSV goes to `log`."""
    metrics = ("--metrics", f"{READ},{WRITTEN}", "--kernel-name", OURS)
    form = ("--csv", "--print-units", "base", "--log-file", log)
    return [ncu, "--target-processes", "all", "--profile-from-start", "off", *metrics, *form, *child]


def moved_by_kernel(text: str) -> list[Moved]:
    """What `ncu --csv` printed, by kernel in the order of their first launch.

    Lines before the header are ncu's own talk. Values may carry thousands separators, and units larger than bytes.

    Raises:
        ValueError: there is no table; the message is ncu's own error where it printed one.
    """
    lines = text.splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith(FIRST_COLUMN)), None)
    if start is None:
        errors = [line.removeprefix(ERROR).strip() for line in lines if line.startswith(ERROR)]
        raise ValueError(errors[0] if errors else "ncu printed no table")
    found: dict[str, Moved] = {}
    for row in csv.DictReader(line for line in lines[start:] if line.startswith('"')):
        if row["Metric Name"] not in (READ, WRITTEN):
            continue
        one = found.setdefault(row["Kernel Name"], Moved(row["Kernel Name"]))
        size = float(row["Metric Value"].replace(",", "")) * UNITS[row["Metric Unit"]]
        if row["Metric Name"] == READ:
            one.launches += 1
            one.read += size
        else:
            one.written += size
    return list(found.values())
