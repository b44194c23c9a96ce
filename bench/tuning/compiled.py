"""Which candidates compile without a stack on an architecture: a process a kernel, as many as there are cores."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from bench.tuning.candidates import candidates
from bench.tuning.subjects import subjects
from spikevrt.config import load_config
from spikevrt_kernels.core.keys import by_key
from spikevrt_kernels.core.processes import Job, run_jobs
from spikevrt_kernels.core.tuned import Kernel, Row
from spikevrt_kernels.proof.compiler import compile_launch

PATIENCE = 120.0
"""Seconds for one candidate: the assembler may hang."""


class Asked(NamedTuple):
    """What is tuned, in words that travel to another process."""

    config: str
    options: tuple[str, ...]
    architecture: int


class Compiled(NamedTuple):
    """A candidate on an architecture: the most that any of its launches asks for."""

    kernel: Kernel
    row: Row
    registers: int = 0
    stack: int = 0
    shared: int = 0
    tensor_core: int = 0
    reason: str | None = None
    """Why there is no binary."""

    @property
    def fits(self) -> bool:
        """Whether it stays in registers: what spills is slow for certain."""
        return self.reason is None and not self.stack


def compile_candidates(asked: Asked, kernel: Kernel) -> Iterator[Compiled]:
    """Every candidate of a kernel: the work of one process."""
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


def compile_all(
    asked: Asked, kernels: Sequence[Kernel], workers: int, note: Callable[[Any], object] = lambda row: None
) -> dict[Kernel, list[Compiled]]:
    """All candidates of all kernels; one that breaks its compiler is left out, with the ones after it."""
    jobs = [Job(str(kernel), compile_candidates, (asked, kernel), patience=PATIENCE) for kernel in kernels]
    endings = run_jobs(jobs, workers, lambda _, row: note(row))
    found = {}
    for kernel, ending in zip(kernels, endings, strict=True):
        rows = list(ending.rows)
        if ending.reason is not None:
            missing = candidates(kernel)[len(rows)]
            rows.append(Compiled(kernel, missing, reason=ending.reason))
        found[kernel] = rows
    return found
