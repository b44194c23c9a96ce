"""Is a backend right? Its errors against float64, beside those that plain PyTorch makes in the same type."""

from typing import NamedTuple

import torch
from torch import Tensor

from spikevrt_kernels.checks.case import Case, Precision, Run, output_gradient, run_case

OUT_FACTOR, GRADIENT_FACTOR = 2.0, 3.0
"""Allowed error in errors of the reference in the same type; sums of gradients come in another order."""
FLOORS = {torch.float64: 1e-12, torch.float32: 1e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}
"""Relative errors that always pass: rounding, where the reference is luckier. Integers must be equal."""


class Error(NamedTuple):
    """A relative error, ||a - exact|| / ||exact||, and what is allowed."""

    what: str
    error: float
    allowed: float

    @property
    def right(self) -> bool:
        """Whether it is small enough; NaN is not."""
        return self.error <= self.allowed


class Comparison(NamedTuple):
    """A backend against float64 on one case."""

    out: Error
    gradients: tuple[Error, ...]

    @property
    def worst_gradient(self) -> Error | None:
        """The gradient farthest beyond, or nearest to, what is allowed."""
        return max(self.gradients, key=excess, default=None)

    @property
    def reason(self) -> str | None:
        """None where all is right, else what is wrong."""
        worst = max((self.out, *self.gradients), key=excess)
        if worst.right:
            return None
        return f"wrong: {worst.what} is off by {worst.error:.1e}, {worst.allowed:.1e} is allowed"


def excess(error: Error) -> float:
    """Error in units of what is allowed; NaN is the worst of all."""
    if error.error != error.error:
        return float("inf")
    return error.error / error.allowed if error.allowed else float(error.error > 0)


def relative_error(found: Tensor, exact: Tensor) -> float:
    """||found - exact|| / ||exact||, or ||found|| where the exact value is 0 all over."""
    norm = float(exact.double().norm())
    difference = float((found.double() - exact.double()).norm())
    return difference / norm if norm else difference


def worse(a: float, b: float) -> float:
    """The larger of two errors; NaN is the largest."""
    return b if b != b or b > a else a


class Judge:
    """Compares backends in one precision on one device; the reference of the case before is kept."""

    def __init__(self, precision: Precision, device: torch.device, backward: bool = True) -> None:
        self.precision, self.device, self.backward = precision, device, backward
        self.case: Case | None = None

    def compare(self, case: Case, backend: str) -> Comparison:
        """Errors of a backend.

        Raises:
            BackendError: the backend cannot run the case.
        """
        self.prepare(case)
        errors = self.errors(self.run(case, backend))
        if self.backward:
            # Without gradients another kernel may run, as in validation.
            plain = run_case(case, backend, self.inputs, self.precision.autocast, None)
            errors[0] = worse(errors[0], relative_error(plain.out, self.exact.out))
        names = [f"gradient of {name}" for name in case.names]
        floor = FLOORS.get(self.precision.features, 0.0)
        allowed = [max(floor, factor * own) for factor, own in zip(self.factors(case), self.own, strict=True)]
        found = [Error(*row) for row in zip(["output", *names][: len(errors)], errors, allowed, strict=True)]
        return Comparison(found[0], tuple(found[1:]))

    def reason(self, case: Case, backend: str) -> str | None:
        """None where a backend is right on a case, else one sentence."""
        reason = self.compare(case, backend).reason
        return None if reason is None else f"{reason} at {case.shape} in {self.precision.name}"

    def factors(self, case: Case) -> list[float]:
        """Of the output and of every gradient."""
        return [OUT_FACTOR, *[GRADIENT_FACTOR] * (len(case.names) if self.backward else 0)]

    def prepare(self, case: Case) -> None:
        """Run the reference in float64 and in the precision itself."""
        if case is self.case:
            return
        self.case = None
        self.inputs = case.inputs(self.precision, self.device)
        own = run_case(case, case.reference, self.inputs, self.precision.autocast, None)
        self.grad = output_gradient(own.out) if self.backward else None
        exact = [x.double() if x.is_floating_point() else x for x in self.inputs]
        self.exact = run_case(case, case.reference, exact, None, self.grad)
        self.own = self.errors(self.run(case, case.reference))
        self.case = case

    def run(self, case: Case, backend: str) -> Run:
        """The case in the judge's precision."""
        return run_case(case, backend, self.inputs, self.precision.autocast, self.grad)

    def errors(self, run: Run) -> list[float]:
        """Of the output, then of every gradient."""
        pairs = zip((run.out, *run.gradients), (self.exact.out, *self.exact.gradients), strict=True)
        return [relative_error(found, exact) for found, exact in pairs]
