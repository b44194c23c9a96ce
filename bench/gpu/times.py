"""Time and peak memory of operators at all of the model's shapes, by backend."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch

from bench.gpu.part import Finding
from bench.gpu.setting import Setting, timed_cases
from bench.workloads.workload import DIRECTIONS
from spikevrt_kernels.checks.timing import elapsed
from spikevrt_kernels.checks.trials import Trial, failure
from spikevrt_kernels.core.case import Case, output_gradient, run_case

SHAPE_SECONDS, MOST_RUNS = 0.6, 10
"""A shape is repeated until this time has passed, at most this often."""


class Timed(NamedTuple):
    """What was measured of one shape, direction and backend."""

    seconds: list[float]
    """Times of the runs, sorted."""
    peak: int | None
    """Peak memory in bytes without the inputs; None on the CPU."""

    @property
    def median(self) -> float:
        """The median time in seconds."""
        return self.seconds[len(self.seconds) // 2]


def shapes(setting: Setting, *entries: str) -> Iterator[Finding]:
    """Measure every shape by every entry, the largest shape first."""
    for case in timed_cases(setting):
        for entry in entries:
            yield from by_entry(setting, case, entry)


def by_entry(setting: Setting, case: Case, entry: str) -> Iterator[Finding]:
    """Measure one case by one entry, forward and with backward.

    Raises:
        RuntimeError: a kernel destroyed the GPU's context.
    """
    try:
        for direction, run in runs(setting, case, entry):
            yield time_finding(case, direction, entry, measured(setting, run))
    except torch.OutOfMemoryError:
        yield Finding("note", f"{case.op} {case.shape}, {entry}: out of memory")
    except Exception as error:
        reason = failure(error, Trial(case, setting.precision, entry))
        yield Finding("note", f"{case.op}, {entry}: {reason}", bad=True)
        setting.synchronise()


def runs(setting: Setting, case: Case, entry: str) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield each direction with a function that runs the case in it."""
    precision, backend = setting.precision, setting.backend(entry)
    inputs = case.inputs(precision, setting.device)
    yield DIRECTIONS[0], lambda: run_case(case, backend, inputs, precision.autocast, None)
    gradient = output_gradient(run_case(case, backend, inputs, precision.autocast, None).out)
    yield DIRECTIONS[1], lambda: run_case(case, backend, inputs, precision.autocast, gradient)


def measured(setting: Setting, run: Callable[[], object]) -> Timed:
    """Measure time and peak memory, after one run that compiles."""
    run()
    setting.synchronise()
    before = 0
    if not setting.dry:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    spent: list[float] = []
    while sum(spent) < SHAPE_SECONDS and len(spent) < MOST_RUNS:
        spent.append(elapsed(run, setting.device))
    return Timed(sorted(spent), None if setting.dry else torch.cuda.max_memory_allocated() - before)


def time_finding(case: Case, direction: str, entry: str, timed: Timed) -> Finding:
    """The finding of a measurement, in milliseconds and bytes."""
    ms, least, most = (1e3 * s for s in (timed.median, timed.seconds[0], timed.seconds[-1]))
    figures: dict[str, Any] = {"op": case.op, "shape": case.shape, "direction": direction, "entry": entry}
    figures |= {"ms": ms, "least": least, "most": most, "peak": timed.peak}
    return Finding("time", f"{case.op} {case.shape}, {direction}, {entry}: {ms:.2f} ms", figures=figures)
