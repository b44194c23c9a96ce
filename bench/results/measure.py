"""Measures time, memory and traffic of an entry of a workload, after a check that the entry is right."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.results.rows import Row
from bench.workloads.workload import DIRECTIONS, PUBLISHED, Workload
from spikevrt_kernels.checks.timing import elapsed
from spikevrt_kernels.core.backends import why_not_triton
from spikevrt_kernels.proof.memory import predicted_peak, without_storage
from spikevrt_kernels.proof.operator_counter import count_operators, count_saved
from spikevrt_kernels.registry import DECLARED

ROUND_SECONDS = 1.0
"""Approximate time of all rounds of a measurement."""
FEWEST_ROUNDS, MOST_ROUNDS = 5, 50
"""Limits of the number of rounds."""


def type_name(dtype: torch.dtype) -> str:
    """Name of a type without its module: `float32`."""
    return str(dtype).removeprefix("torch.")


def measure(benchmark: Any, work: Workload, entry: str, direction: str) -> Row:
    """Check an entry, then measure it.

    Args:
        benchmark: pytest-benchmark's fixture.
        work: operator, shape and tensors.
        entry: a backend, or another entry that the case runs.
        direction: one of `DIRECTIONS`.

    Raises:
        AssertionError: the entry is wrong; nothing is measured.
    """
    error = work.check(entry)
    step, traced = work.steps(entry, direction), work.traced(entry, direction)
    with count_operators(DECLARED) as traffic:
        traced()
    peak, source = peak_memory(work, entry, direction)
    benchmark.group = ", ".join((work.case.op, work.case.shape, direction))
    benchmark.pedantic(synchronised_on(work.device, step), rounds=rounds_of(work, step), warmup_rounds=1)
    p20, median, p80 = np.percentile(benchmark.stats.stats.data, (20, 50, 80))
    row = Row(
        operator=work.case.op,
        shape=work.case.shape,
        direction=direction,
        entry=entry,
        dtype=type_name(work.dtype),
        tokens=work.tokens,
        unit=work.unit,
        moved=traffic.bytes,
        saved=None if direction == DIRECTIONS[0] else saved_bytes(work, entry),
        peak=peak,
        peak_source=source,
        predicted=predicted_beside(work, entry, direction),
        seconds=(float(p20), float(median), float(p80)),
        error=error,
    )
    benchmark.extra_info.update(figures(row))
    return row


def figures(row: Row) -> Mapping[str, float | None]:
    """Figures that pytest-benchmark stores with its own statistics."""
    return {"moved_bytes": row.moved, "saved_bytes": row.saved, "peak_bytes": row.peak, "error": row.error}


def synchronised_on(device: torch.device, step: Callable[[], object]) -> Callable[[], object]:
    """The step, followed on CUDA by a wait until its kernels have finished."""
    if device.type != "cuda":
        return step

    def run() -> None:
        step()
        torch.cuda.synchronize(device)

    return run


def rounds_of(work: Workload, step: Callable[[], object]) -> int:
    """Number of rounds that take about `ROUND_SECONDS`."""
    return int(np.clip(ROUND_SECONDS / elapsed(step, work.device), FEWEST_ROUNDS, MOST_ROUNDS))


def saved_bytes(work: Workload, entry: str) -> int:
    """Bytes that autograd keeps for backward, without weights but with inputs, which the step must keep."""
    with count_saved(*work.weights) as sizes:
        out = work.run(entry, work.leaves)
    del out
    return sum(sizes)


def predict_saved(work: Workload, entry: str) -> int:
    """The same without running: the entry may be `triton` anywhere."""
    make = work.planned()
    with without_storage():
        return saved_bytes(make(), entry)


def peak_memory(work: Workload, entry: str, direction: str) -> tuple[int, str]:
    """Peak memory in bytes without the leaves and the gradient of the output, and where the figure comes from."""
    if work.device.type != "cuda":
        return predict_peak(work, entry, direction), "predicted"
    step, device = work.steps(entry, direction), work.device
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    step()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before, "CUDA's allocator"


def predicted_beside(work: Workload, entry: str, direction: str) -> int | None:
    """Predicted peak for a measured one, in bytes; None on the CPU and for the published code."""
    if work.device.type != "cuda" or entry == PUBLISHED:
        return None
    return predict_peak(work, entry, direction)


def predict_peak(work: Workload, entry: str, direction: str) -> int:
    """The same without a GPU and without running: the entry may be `triton` anywhere."""
    held, make = 0, work.planned()

    def setup() -> Callable[[], object]:
        nonlocal held
        fake = make()
        held = sum(t.untyped_storage().nbytes() for t in (*fake.leaves, fake.gradient))
        return fake.steps(entry, direction)

    peak = predicted_peak(setup, iterations=1, for_cuda=work.device.type == "cuda")
    return peak - held


@dataclass(frozen=True)
class Compare:
    """Measures or predicts one entry, and appends a row for the tables and the JSON file."""

    benchmark: Any
    """pytest-benchmark's fixture."""
    entry: str
    rows: list[Row]
    dtype: torch.dtype
    device: str

    def __call__(
        self, make: Callable[[torch.dtype, str], Workload], prove: Callable[[str], Row], direction: str
    ) -> None:
        """Measure the entry; without a GPU the row of `triton` has predictions instead of times.

        Args:
            make: makes the workload from a type and a device.
            prove: makes the row of `triton` in a direction without a GPU.
            direction: one of `DIRECTIONS`.

        Raises:
            AssertionError: the entry is wrong.
        """
        reason = why_not_triton() if self.entry == "triton" else None
        if reason is not None:
            self.rows.append(prove(direction))
            pytest.skip(f"{reason}; its row shows proof figures")
        self.rows.append(measure(self.benchmark, make(self.dtype, self.device), self.entry, direction))


def status_kib(name: str) -> int:
    """A figure of /proc/self/status in KiB: RssAnon (current anonymous memory), VmHWM (peak resident memory)."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None, f"no {name} in /proc/self/status: Linux is needed"
    return int(found[1])
