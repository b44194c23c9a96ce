"""Seconds of one run of a case, forward or forward and backward."""

import statistics
import time
from collections.abc import Callable

import torch

from spikevrt_kernels.core.case import Case, Precision, output_gradient, run_case

SECONDS, MOST = 0.02, 10
"""A case is repeated until this time has passed, at most this often."""


class Timer:
    """Times backends in one precision on one device."""

    def __init__(self, precision: Precision, device: torch.device, backward: bool = True) -> None:
        self.precision, self.device, self.backward = precision, device, backward

    def seconds(self, case: Case, backend: str) -> float:
        """Median time of a few runs, after one that compiles.

        Raises:
            torch.OutOfMemoryError: the case does not fit.
        """
        inputs = case.inputs(self.precision, self.device)
        autocast = self.precision.autocast
        first = run_case(case, backend, inputs, autocast, None)
        grad = output_gradient(first.out) if self.backward else None
        del first

        def run() -> None:
            run_case(case, backend, inputs, autocast, grad)

        run()
        spent: list[float] = []
        while sum(spent) < SECONDS and len(spent) < MOST:
            spent.append(elapsed(run, self.device))
        return statistics.median(spent)


def elapsed(run: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call, until the device has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
