"""One entry of one comparison: measured where it runs, proved where a GPU is missing."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from bench.measure import measure
from bench.rows import Row
from bench.workload import Workload
from spikevrt_kernels.backends import why_not_triton


@dataclass(frozen=True)
class Compare:
    """What a benchmark calls; its row ends in the tables and in the JSON file."""

    benchmark: Any
    """pytest-benchmark's fixture."""
    entry: str
    rows: list[Row]
    dtype: torch.dtype
    device: str

    def __call__(
        self, make: Callable[[torch.dtype, str], Workload], prove: Callable[[str], Row], direction: str
    ) -> None:
        """Measure the entry; without a GPU the row of `triton` shows its proof in place of times.

        Args:
            make: the workload, in a type on a device.
            prove: the row of `triton` in a direction, on any machine.
            direction: one of `DIRECTIONS`.

        Raises:
            AssertionError: the entry is wrong.
        """
        reason = why_not_triton() if self.entry == "triton" else None
        if reason is not None:
            self.rows.append(prove(direction))
            pytest.skip(f"{reason}; its row shows proof figures")
        self.rows.append(measure(self.benchmark, make(self.dtype, self.device), self.entry, direction))
