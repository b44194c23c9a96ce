"""Tries the candidates of kernels: do they compile without a stack, are they right, how fast are they?"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch

from bench.tuning.subjects import Subject, candidates, subjects
from spikevrt.config import load_config
from spikevrt.system.device import half_type
from spikevrt_kernels.checks.comparison import Judge
from spikevrt_kernels.checks.trials import Trial, failure
from spikevrt_kernels.core.case import Case, mixed, output_gradient, run_case
from spikevrt_kernels.core.keys import by_key
from spikevrt_kernels.core.processes import Job, run_jobs
from spikevrt_kernels.core.tuned import Kernel, trying
from spikevrt_kernels.core.tuned import Row as TileRow
from spikevrt_kernels.proof.compiler import compile_launch

COMPILE_SECONDS = 120.0
"""Time limit to compile a candidate in seconds: the assembler may hang."""
BACKEND = "triton"
TRIAL_SECONDS = 90.0
"""Time limit to run a candidate in seconds."""
PROFILED_RUNS = 5
LEAST_GAIN = 0.02
"""Part of the time that a row must save to replace the static table's row."""


class Asked(NamedTuple):
    """What is tuned, as values that can be sent to another process."""

    config: str
    options: tuple[str, ...]
    architecture: int


class Compiled(NamedTuple):
    """A compiled candidate: the largest figures of all its launches."""

    kernel: Kernel
    row: TileRow
    registers: int = 0
    stack: int = 0
    shared: int = 0
    tensor_core: int = 0
    reason: str | None = None
    """Why it does not compile."""

    @property
    def fits(self) -> bool:
        """Whether it compiles without a stack; kernels that spill registers are slow."""
        return self.reason is None and not self.stack


def compile_candidates(asked: Asked, kernel: Kernel) -> Iterator[Compiled]:
    """Compile every candidate of a kernel; runs in a process of its own."""
    config = load_config(asked.config, list(asked.options))
    subject = next(s for s in subjects(config, asked.architecture) if s.kernel == kernel)
    for row in candidates(kernel):
        try:
            found = [compile_launch(launch, asked.architecture) for launch in by_key(subject.launches(row)).values()]
        except Exception as error:
            yield Compiled(kernel, row, reason=f"{type(error).__name__}: {error}".splitlines()[0][:100])
            continue
        most = (max(getattr(r, name) for r in found) for name in ("registers", "stack", "shared", "tensor_core"))
        yield Compiled(kernel, row, *most)


def compile_every_candidate(
    asked: Asked, kernels: Sequence[Kernel], workers: int, note: Callable[[Any], object] = lambda row: None
) -> dict[Kernel, list[Compiled]]:
    """Compile the candidates of all kernels in parallel; a crash ends the compilation of that kernel."""
    jobs = [Job(str(kernel), compile_candidates, (asked, kernel), patience=COMPILE_SECONDS) for kernel in kernels]
    endings = run_jobs(jobs, workers, lambda _, row: note(row))
    found = {}
    for kernel, ending in zip(kernels, endings, strict=True):
        rows = list(ending.rows)
        if ending.reason is not None:
            missing = candidates(kernel)[len(rows)]
            rows.append(Compiled(kernel, missing, reason=ending.reason))
        found[kernel] = rows
    return found


class Tried(NamedTuple):
    """The result of a candidate."""

    row: TileRow
    seconds: float | None = None
    """Time of the kernel alone, summed over the model's shapes."""
    reason: str | None = None
    """Why it cannot be used."""


class Started(NamedTuple):
    """Sent before a candidate runs, to know which one ended the process."""

    row: TileRow


def try_on_gpu(asked: Asked, kernel: Kernel, rows: Sequence[TileRow]) -> Iterator[Started | Tried]:
    """Try rows of a kernel on the GPU; runs in a process of its own."""
    device = torch.device("cuda", torch.cuda.current_device())
    config = load_config(asked.config, list(asked.options))
    subject = next(s for s in subjects(config, asked.architecture) if s.kernel == kernel)
    runner = CaseRunner(subject, device, half_type(device, config.train.mixed_precision))
    for row in rows:
        yield Started(row)
        with trying({kernel: row}):
            reason = runner.why_wrong()
            yield Tried(row, None, reason) if reason else Tried(row, runner.seconds())


class CaseRunner:
    """Runs the cases of a kernel on a device."""

    def __init__(self, subject: Subject, device: torch.device, half: torch.dtype | None) -> None:
        self.subject, self.device, self.precision = subject, device, mixed(half)

    def why_wrong(self) -> str | None:
        """None if the kernel is right on all checked cases, else what is wrong on the first bad one."""
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
        """Seconds of the kernel in one run of a case, from a profile; of the whole run if the profile is empty."""
        inputs, autocast = case.inputs(self.precision, self.device), self.precision.autocast
        gradient = output_gradient(run_case(case, BACKEND, inputs, autocast, None).out)

        def run() -> None:
            run_case(case, BACKEND, inputs, autocast, gradient)

        run()
        torch.cuda.synchronize()
        start = time.perf_counter()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            for _ in range(PROFILED_RUNS):
                run()
            torch.cuda.synchronize()
        whole = time.perf_counter() - start
        return (kernel_seconds(profile.key_averages(), self.subject.functions) or whole) / PROFILED_RUNS


def kernel_seconds(events: Iterable[Any], functions: set[str]) -> float:
    """Seconds of the kernels of these names in a profile."""
    return sum(event.self_device_time_total for event in events if event.key in functions) / 1e6


def try_rows(
    asked: Asked, kernel: Kernel, rows: Sequence[TileRow], work: Callable[..., Iterable[Any]] = try_on_gpu
) -> list[Tried]:
    """Try every row; if one ends its process, the others run in a new process."""
    todo, found = list(rows), []
    while todo:
        (ending,) = run_jobs([Job(str(kernel), work, (asked, kernel, tuple(todo)), patience=TRIAL_SECONDS)])
        tried = [row for row in ending.rows if isinstance(row, Tried)]
        found += tried
        todo = todo[len(tried) :]
        if ending.reason is None:
            break
        if not any(isinstance(row, Started) for row in ending.rows):  # It ended before the first kernel.
            return [*found, *(Tried(row, None, ending.reason) for row in todo)]
        found += [Tried(row, None, ending.reason) for row in todo[:1]]
        todo = todo[1:]
    return found


def fastest(tried: Sequence[Tried], static: TileRow) -> TileRow:
    """The fastest correct row; the static one unless another is faster by `LEAST_GAIN`."""
    times = {one.row: one.seconds for one in tried if one.seconds is not None}
    if not times:
        return static
    best = min(times, key=lambda row: times[row])
    slow = static in times and times[best] > (1 - LEAST_GAIN) * times[static]
    return static if slow else best
