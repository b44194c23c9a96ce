"""Time, memory and traffic of one entry of a case, taken only after it was shown to be right."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from bench.cases import DIRECTIONS, Case
from bench.rows import Row
from spikevrt_kernels.proof.memory import predicted_peak
from spikevrt_kernels.proof.operator_counter import Declared, count_operators, count_saved

SECONDS = 1.0
"""What the rounds of a measurement take in all, about."""
FEWEST, MOST = 5, 50
"""Rounds."""


def type_name(dtype: torch.dtype) -> str:
    """`float32` of `torch.float32`."""
    return str(dtype).removeprefix("torch.")


def measure(benchmark: Any, case: Case, entry: str, direction: str, declared: Declared | None = None) -> Row:
    """Check the entry, then measure it.

    Args:
        benchmark: pytest-benchmark's fixture.
        case: operator, shape and leaves.
        entry: one of `case.functions`.
        direction: one of `DIRECTIONS`.
        declared: what custom operators declare to move.

    Raises:
        AssertionError: the entry is wrong; no figure is taken.
    """
    error = case.check(entry)
    step, traced = case.steps(entry, direction), case.traced(entry, direction)
    with count_operators(declared) as traffic:
        traced()
    peak, source = peak_memory(case, entry, direction)
    benchmark.group = ", ".join((case.operator, case.shape, direction))
    benchmark.pedantic(synchronised(case, step), rounds=rounds_of(case, step), warmup_rounds=1)
    p20, median, p80 = np.percentile(benchmark.stats.stats.data, (20, 50, 80))
    row = Row(
        operator=case.operator,
        shape=case.shape,
        direction=direction,
        entry=entry,
        dtype=type_name(case.x.dtype),
        tokens=case.tokens,
        unit=case.unit,
        moved=traffic.bytes,
        saved=None if direction == DIRECTIONS[0] else saved_bytes(case, entry),
        peak=peak,
        peak_source=source,
        seconds=(float(p20), float(median), float(p80)),
        error=error,
    )
    benchmark.extra_info.update(figures(row))
    return row


def figures(row: Row) -> Mapping[str, float | None]:
    """What pytest-benchmark keeps beside its own statistics."""
    return {"moved_bytes": row.moved, "saved_bytes": row.saved, "peak_bytes": row.peak, "error": row.error}


def synchronised(case: Case, step: Callable[[], object]) -> Callable[[], object]:
    """The step with an end: CUDA's kernels have run when it returns."""
    if not case.x.is_cuda:
        return step

    def run() -> None:
        step()
        torch.cuda.synchronize(case.x.device)

    return run


def rounds_of(case: Case, step: Callable[[], object]) -> int:
    """Rounds that fill `SECONDS`."""
    run = synchronised(case, step)
    start = time.perf_counter()
    run()
    return int(np.clip(SECONDS / (time.perf_counter() - start), FEWEST, MOST))


def saved_bytes(case: Case, entry: str) -> int:
    """Bytes that autograd keeps for backward, parameters apart; inputs count, as the step must keep them."""
    with count_saved(*case.parameters) as sizes:
        out = case.functions[entry](case.leaves)
    del out
    return sum(sizes)


def peak_memory(case: Case, entry: str, direction: str) -> tuple[int, str]:
    """The most bytes allocated at once beside the leaves and the gradient of the output, and who says so."""
    if not case.x.is_cuda:
        return predict_peak(case, entry, direction), "predicted"
    step, device = case.steps(entry, direction), case.x.device
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    step()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before, "CUDA's allocator"


def predict_peak(case: Case, entry: str, direction: str) -> int:
    """The same without a GPU and without running: the entry may be `triton` anywhere."""
    held, _drawn = 0, case.gradient  # Drawn before tensors without storage are: it runs `naive`.

    def setup() -> Callable[[], object]:
        nonlocal held
        fake = case.without_storage()
        given = fake.leaves if direction == DIRECTIONS[0] else [*fake.leaves, fake.gradient]
        held = sum(t.untyped_storage().nbytes() for t in given)
        return fake.steps(entry, direction)

    peak = predicted_peak(setup, iterations=1)
    return peak - held
