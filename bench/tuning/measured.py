"""Every candidate of a kernel on the GPU: right against float64, then its time at the model's shapes."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch

from bench.tuning.compiled import Asked
from bench.tuning.subjects import Subject, subjects
from spikevrt.config import load_config
from spikevrt.system.device import half_type
from spikevrt_kernels.checks.comparison import Judge
from spikevrt_kernels.checks.trials import Trial, failure
from spikevrt_kernels.core.case import Case, mixed, output_gradient, run_case
from spikevrt_kernels.core.processes import Job, run_jobs
from spikevrt_kernels.core.tuned import Kernel, Row, trying

BACKEND = "triton"
PATIENCE = 90.0
"""Seconds for one candidate."""
REPEATS = 5
GAIN = 0.02
"""A row must be this much faster than the static table's to take its place."""


class Tried(NamedTuple):
    """What was found of a candidate."""

    row: Row
    seconds: float | None = None
    """Of the kernel alone, all the model's shapes together."""
    reason: str | None = None
    """Why it is left out."""


class Started(NamedTuple):
    """A candidate whose turn it is: should the process end, it was this one."""

    row: Row


def measure(asked: Asked, kernel: Kernel, rows: Sequence[Row]) -> Iterator[Started | Tried]:
    """Try rows of one kernel: the work of one process."""
    device = torch.device("cuda", torch.cuda.current_device())
    config = load_config(asked.config, list(asked.options))
    subject = next(s for s in subjects(config, asked.architecture) if s.kernel == kernel)
    bench = Bench(subject, device, half_type(device, config.train.mixed_precision))
    for row in rows:
        yield Started(row)
        with trying({kernel: row}):
            reason = bench.why_wrong()
            yield Tried(row, None, reason) if reason else Tried(row, bench.seconds())


class Bench:
    """The cases of a kernel on a device."""

    def __init__(self, subject: Subject, device: torch.device, half: torch.dtype | None) -> None:
        self.subject, self.device, self.precision = subject, device, mixed(half)

    def why_wrong(self) -> str | None:
        """None where the kernel is right on all checked cases, else what is wrong on the first that is not."""
        for case in self.subject.checked:
            try:
                reason = Judge(self.precision, self.device).reason(case, BACKEND)
            except Exception as error:
                reason = failure(error, Trial(case, self.precision, BACKEND))
            if reason is not None:
                torch.cuda.synchronize()
                return reason
        return None

    def seconds(self) -> float:
        """The kernel's time in one run of each timed case, forward and backward."""
        return sum(self.of_case(case) for case in self.subject.timed)

    def of_case(self, case: Case) -> float:
        """Seconds of the kernel in one run of a case, from a profile; without one, of the whole run."""
        inputs, autocast = case.inputs(self.precision, self.device), self.precision.autocast
        gradient = output_gradient(run_case(case, BACKEND, inputs, autocast, None).out)

        def run() -> None:
            run_case(case, BACKEND, inputs, autocast, gradient)

        run()
        torch.cuda.synchronize()
        start = time.perf_counter()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            for _ in range(REPEATS):
                run()
            torch.cuda.synchronize()
        whole = time.perf_counter() - start
        return (kernel_seconds(profile.key_averages(), self.subject.functions) or whole) / REPEATS


def kernel_seconds(events: Iterable[Any], functions: set[str]) -> float:
    """Seconds that kernels of these names took in a profile."""
    return sum(event.self_device_time_total for event in events if event.key in functions) / 1e6


def try_rows(
    asked: Asked, kernel: Kernel, rows: Sequence[Row], work: Callable[..., Iterable[Any]] = measure
) -> list[Tried]:
    """Every row, whatever the ones before it did: one that ends its process is left out, and the rest go on."""
    todo, found = list(rows), []
    while todo:
        (ending,) = run_jobs([Job(str(kernel), work, (asked, kernel, tuple(todo)), patience=PATIENCE)])
        tried = [row for row in ending.rows if isinstance(row, Tried)]
        found += tried
        todo = todo[len(tried) :]
        if ending.reason is None:
            break
        if not any(isinstance(row, Started) for row in ending.rows):  # It did not come as far as a kernel.
            return [*found, *(Tried(row, None, ending.reason) for row in todo)]
        found += [Tried(row, None, ending.reason) for row in todo[:1]]
        todo = todo[1:]
    return found


def fastest(tried: Sequence[Tried], static: Row) -> Row:
    """The fastest row that is right; the static one unless another gains something."""
    times = {one.row: one.seconds for one in tried if one.seconds is not None}
    if not times:
        return static
    best = min(times, key=lambda row: times[row])
    slow = static in times and times[best] > (1 - GAIN) * times[static]
    return static if slow else best
