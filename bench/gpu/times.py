"""Times of every shape at which the model runs an operator, by backend."""

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
"""A shape is run again until it took this long, at most this often."""


class Timed(NamedTuple):
    """One shape in one direction by one backend."""

    seconds: list[float]
    """Sorted."""
    peak: int | None
    """Bytes beside the inputs; None on the CPU."""

    @property
    def median(self) -> float:
        """Seconds."""
        return self.seconds[len(self.seconds) // 2]


def shapes(setting: Setting, *entries: str) -> Iterator[Finding]:
    """Every timed shape, the one with most elements first, by every entry; a finding each."""
    for case in timed_cases(setting):
        for entry in entries:
            yield from by_entry(setting, case, entry)


def by_entry(setting: Setting, case: Case, entry: str) -> Iterator[Finding]:
    """Both directions of one case by one entry.

    Raises:
        RuntimeError: the GPU's context is gone.
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
    """The case forward, then forward and backward."""
    precision, backend = setting.precision, setting.backend(entry)
    inputs = case.inputs(precision, setting.device)
    yield DIRECTIONS[0], lambda: run_case(case, backend, inputs, precision.autocast, None)
    gradient = output_gradient(run_case(case, backend, inputs, precision.autocast, None).out)
    yield DIRECTIONS[1], lambda: run_case(case, backend, inputs, precision.autocast, gradient)


def measured(setting: Setting, run: Callable[[], object]) -> Timed:
    """Time and peak memory after a run that compiles and warms up."""
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
    """Figures of a run, in milliseconds and bytes."""
    ms, least, most = (1e3 * s for s in (timed.median, timed.seconds[0], timed.seconds[-1]))
    figures: dict[str, Any] = {"op": case.op, "shape": case.shape, "direction": direction, "entry": entry}
    figures |= {"ms": ms, "least": least, "most": most, "peak": timed.peak}
    return Finding("time", f"{case.op} {case.shape}, {direction}, {entry}: {ms:.2f} ms", figures=figures)
