"""Compiles launches before they run, in parallel processes, into Triton's cache on disk.

The launcher itself compiles, on pointers without memory, for the architecture that it is told: real tensors find the
same entries later. No process makes a CUDA context.
"""

import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from typing import Any, NamedTuple

from spikevrt_kernels.core.keys import by_key
from spikevrt_kernels.core.launch import Launch
from spikevrt_kernels.core.processes import Ending, Job, cores, run_jobs

SECONDS = 120.0
"""Time limit to compile a kernel in seconds; two or three are usual."""


class Binary(NamedTuple):
    """A binary to compile in another process."""

    module: str
    kernel: str
    architecture: int
    arguments: dict[str, Any]
    """Pointers, numbers and constants by argument name."""
    options: dict[str, Any]

    def compile(self) -> None:
        """Compile into Triton's cache on disk, unless it is there."""
        from triton.runtime import driver

        from spikevrt_kernels.proof.no_launch import Driver

        driver.set_active(Driver(self.architecture))
        getattr(import_module(self.module), self.kernel).warmup(grid=(1,), **self.arguments, **self.options)


def compile_all(
    launches: Iterable[Launch],
    architecture: int,
    processes: int | None = None,
    seconds: float = SECONDS,
    done: Callable[[], object] = lambda: None,
) -> list[str]:
    """Compile every distinct binary of some launches.

    Args:
        launches: as `noted_launches` writes them down.
        architecture: of the GPU that will run them (90 for sm_90).
        processes: at a time; None = a core each.
        seconds: what one kernel may take before its process is ended.
        done: called after each.

    Returns:
        A line for each that failed; it fails again where it is launched.
    """
    left, failed = [binary_of(launch, architecture) for launch in by_key(launches).values()], []
    while left:
        count = min(processes or cores(), len(left))
        shares = [left[i::count] for i in range(count)]
        endings = run_jobs([job(share, seconds) for share in shares], count, lambda job, row: done())
        failed += [line for pair in zip(shares, endings, strict=True) for line in failures(*pair)]
        # One that ends its process is not tried again; those behind it are.
        left = [binary for share, end in zip(shares, endings, strict=True) for binary in share[len(end.rows) + 1 :]]
    return failed


def binary_of(launch: Launch, architecture: int) -> Binary:
    """A launch in a form that can be sent to another process."""
    plain = launch.without_tensors()
    return Binary(plain.kernel.__module__, plain.kernel.__name__, architecture, plain.arguments, plain.options)


def job(share: Sequence[Binary], seconds: float) -> Job:
    """Binaries for one process, each pickled separately and read when its turn comes."""
    return Job("compile", compile_share, ([pickle.dumps(binary) for binary in share],), patience=seconds)


def compile_share(share: Sequence[bytes]) -> Iterator[str | None]:
    """Runs in a process: for each binary yield None, or the first line of the compiler's error."""
    for packed in share:
        try:
            pickle.loads(packed).compile()
        except Exception as error:
            yield f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
        else:
            yield None


def failures(share: Sequence[Binary], ending: Ending) -> Iterator[str]:
    """A line for each binary that failed, also for one that ended the process."""
    reasons = [*ending.rows, *([ending.reason] if len(ending.rows) < len(share) else [])]
    yield from (f"{binary.kernel}: {reason}" for binary, reason in zip(share, reasons, strict=False) if reason)
