"""Is a backend right? Its errors against float64, beside those that plain PyTorch makes in the same type.

Two errors of every tensor: of the whole, and of its worst row, which a whole of a million rows hides. A kernel is run
several times, into memory that holds NaN before: it must write every element, and give the same bits every time.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import isfinite
from typing import NamedTuple

import torch
from torch import Tensor

from spikevrt_kernels.core.case import Case, Precision, Run, gradients, output_gradient, run_case
from spikevrt_kernels.core.launch import interpreted

OUT_FACTOR, GRADIENT_FACTOR, ROW_FACTOR = 2.0, 3.0, 2.0
"""Allowed error as a multiple of the reference's error in the same type; gradients are summed in another order."""
CAP = 5e-2
"""Allowed to no gradient unless twice the reference's own error is more: three times a large error allows anything."""
FLOORS = {torch.float64: 1e-12, torch.float32: 1e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}
"""Relative errors that always pass, because the reference may be exact by chance. Integers must be equal."""
ROW, ROW_FLOOR = 16, 4.0
"""Elements of a row (neighbours in memory). The error of a row varies more, so a larger one always passes."""
SLICE = 1 << 24
"""Elements that are compared at once, so that large tensors fit into memory in float64."""
RUNS = 3
"""Of a kernel."""
DETERMINISTIC = ("triton",)
"""Backends that must give the same bits in every run; PyTorch's own need not."""


class Yardstick(NamedTuple):
    """What a backend is compared with."""

    dtype: torch.dtype
    backend: str | None = None
    """None means the reference of the case."""


EXACT = Yardstick(torch.float64)
LARGE = Yardstick(torch.float32, "sdpa")
"""For sizes at which float64 and the reference do not fit into memory."""


class Off(NamedTuple):
    """Relative errors of a tensor."""

    whole: float
    """||a - exact|| / ||exact||."""
    row: float
    """The largest error of any row of ROW neighbours, relative to the row or, if it is small, to the typical row."""


class Error(NamedTuple):
    """The errors of a tensor, with the allowed ones."""

    what: str
    error: float
    allowed: float
    row: float = 0.0
    row_allowed: float = 0.0

    @property
    def right(self) -> bool:
        """Whether both errors are allowed; NaN never is."""
        return self.error <= self.allowed and self.row <= self.row_allowed

    def __str__(self) -> str:
        if not self.error <= self.allowed:
            return f"{self.what} is off by {self.error:.1e}, {self.allowed:.1e} is allowed"
        return f"{self.what} is off by {self.row:.1e} in one row of {ROW}, {self.row_allowed:.1e} is allowed"


class Comparison(NamedTuple):
    """The errors of a backend against float64 on one case."""

    out: Error
    gradients: tuple[Error, ...]
    moved: tuple[str, ...] = ()
    """The tensor that had other bits in another run."""

    @property
    def worst_gradient(self) -> Error | None:
        """The gradient with the largest error in units of the allowed one."""
        return max(self.gradients, key=excess, default=None)

    @property
    def reason(self) -> str | None:
        """None if all is right, else what is wrong."""
        worst = max((self.out, *self.gradients), key=excess)
        if not worst.right:
            return f"wrong: {worst}"
        if self.moved:
            return f"wrong: {', '.join(self.moved)}: other bits in another run"
        return None


def excess(error: Error) -> float:
    """The larger of both errors in units of the allowed one; NaN counts as the largest."""
    return max(ratio(error.error, error.allowed), ratio(error.row, error.row_allowed))


def ratio(error: float, allowed: float) -> float:
    """Error in units of the allowed one; infinite for NaN, and if no error is allowed."""
    if error != error:
        return float("inf")
    if not allowed:
        return float("inf") if error > 0 else 0.0
    return error / allowed


def relative_errors(found: Tensor, exact: Tensor) -> Off:
    """Errors of a tensor; if the exact tensor is 0, norms of the tensor itself."""
    a, b = found.detach().reshape(-1), exact.detach().reshape(-1)
    off, size = [], []
    for i in range(0, len(a), SLICE):
        x, y = a[i : i + SLICE].double(), b[i : i + SLICE].double()
        off.append(row_squares(x - y))
        size.append(row_squares(y))
    return from_squares(torch.cat(off), torch.cat(size))


def from_squares(off: Tensor, size: Tensor) -> Off:
    """Errors from two sums of squares for every row: of the difference, and of the exact values."""
    total = size.sum()
    if not total:
        return Off(float(off.sum().sqrt()), float(off.max().sqrt()))
    return Off(float((off.sum() / total).sqrt()), float((off / size.clamp(min=total / len(size))).max().sqrt()))


def row_squares(x: Tensor) -> Tensor:
    """Sums of squares of every ROW neighbours of a vector."""
    return torch.nn.functional.pad(x.square(), (0, -len(x) % ROW)).view(-1, ROW).sum(1)


@contextmanager
def memory_of_nan() -> Iterator[None]:
    """While active, new tensors are filled with NaN, so that elements that are never written show."""
    before = torch.get_deterministic_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # That it fills memory is a part of this mode (torch.utils.deterministic.fill_uninitialized_memory).
        # `torch.use_deterministic_algorithms` does the same, and imports the compiler: a second for every process.
        torch.set_deterministic_debug_mode("warn")
        try:
            yield
        finally:
            torch.set_deterministic_debug_mode(before)


def worse(a: Off, b: Off) -> Off:
    """The larger errors of two; NaN is the largest."""
    return Off(*(y if y != y or y > x else x for x, y in zip(a, b, strict=True)))


class Judge:
    """Compares backends in one precision on one device; keeps the reference of the last case."""

    def __init__(
        self, precision: Precision, device: torch.device, backward: bool = True, yardstick: Yardstick = EXACT
    ) -> None:
        self.precision, self.device, self.backward, self.yardstick = precision, device, backward, yardstick
        self.case: Case | None = None

    def compare(self, case: Case, backend: str) -> Comparison:
        """Errors of a backend.

        Raises:
            BackendError: the backend cannot run the case.
        """
        self.prepare(case)
        run, moved = self.runs(case, backend)
        errors = self.errors(run)
        if self.backward:
            # Without gradients another kernel may run, as in validation.
            plain = run_case(case, backend, self.inputs, self.precision.autocast, None)
            errors[0] = worse(errors[0], relative_errors(plain.out, self.exact.out))
        rows = zip(self.names(case), errors, self.own, strict=True)
        found = [self.error(name, off, own) for name, off, own in rows]
        return Comparison(found[0], tuple(found[1:]), moved)

    def reason(self, case: Case, backend: str) -> str | None:
        """None if a backend is right on a case, else a sentence that says what is wrong."""
        reason = self.compare(case, backend).reason
        return None if reason is None else f"{reason} at {case.shape} in {self.precision.name}"

    def names(self, case: Case) -> list[str]:
        """Names of the output and of all gradients."""
        return ["output", *([f"gradient of {name}" for name in case.names] if self.backward else [])]

    def error(self, name: str, off: Off, own: Off) -> Error:
        """An error with the allowed one, which follows from the reference's error in the same type."""
        floor = FLOORS.get(self.precision.features, 0.0)
        if not isfinite(own.whole):  # Beside a reference that overflows anything would pass.
            own = Off(0.0, 0.0)
        allowed = OUT_FACTOR * own.whole
        if name != "output":
            allowed = min(GRADIENT_FACTOR * own.whole, max(CAP, OUT_FACTOR * own.whole))
        allowed = max(floor, allowed)
        # A tensor of few rows is little more than one: there a row may be off by what the whole may be.
        row_allowed = max(ROW_FLOOR * floor, ROW_FACTOR * own.row, allowed)
        return Error(name, off.whole, allowed, off.row, row_allowed)

    def prepare(self, case: Case) -> None:
        """Run the yardstick, and the reference in the precision that is checked."""
        if case is self.case:
            return
        self.case = None
        self.inputs = case.inputs(self.precision, self.device)
        reference = self.yardstick.backend or case.reference
        own = run_case(case, reference, self.inputs, self.precision.autocast, None)
        self.grad = output_gradient(own.out) if self.backward else None
        del own
        exact = [x.to(self.yardstick.dtype) if x.is_floating_point() else x for x in self.inputs]
        self.exact = run_case(case, reference, exact, None, self.grad)
        del exact
        self.own = self.errors(self.run(case, reference))
        self.case = case

    def run(self, case: Case, backend: str) -> Run:
        """Run the case in the judge's precision."""
        return run_case(case, backend, self.inputs, self.precision.autocast, self.grad)

    def runs(self, case: Case, backend: str) -> tuple[Run, tuple[str, ...]]:
        """The results of one run, and what differs in later runs; outputs are allocated full of NaN."""
        if backend not in DETERMINISTIC:
            return self.run(case, backend), ()
        with memory_of_nan():
            first, moved = self.run(case, backend), set[int]()
            # The interpreter has one order for everything.
            for _ in range(0 if interpreted() else RUNS - 1):
                again = self.run(case, backend)
                moved |= {
                    i for i, (x, y) in enumerate(zip(flat(first), flat(again), strict=True)) if not same_bits(x, y)
                }
        names = self.names(case)
        return first, tuple(names[i] for i in sorted(moved))

    def errors(self, run: Run) -> list[Off]:
        """Errors of the output, then of every gradient."""
        return [relative_errors(found, exact) for found, exact in zip(flat(run), flat(self.exact), strict=True)]


def moved_in_company(case: Case, backend: str, precision: Precision, device: torch.device, backward: bool) -> list[str]:
    """Compare the last clip's bits in a batch of all clips and alone; names the output or gradient that differs.

    Raises:
        BackendError: the backend cannot run the case.
    """
    inputs = case.inputs(precision, device)
    whole = last_clip(case, inputs, backend, precision, backward)
    clips = [x[-1:].clone() if i < case.features else x for i, x in enumerate(inputs)]
    del inputs
    alone = last_clip(case, clips, backend, precision, backward)
    names = ["output", *(f"gradient of {name}" for name in case.names)]
    return [name for name, a, b in zip(names, whole, alone, strict=False) if not same_bits(a, b)]


def last_clip(
    case: Case, inputs: Sequence[Tensor], backend: str, precision: Precision, backward: bool
) -> tuple[Tensor, ...]:
    """Output and feature gradients of the last clip; the output serves as its own gradient."""
    leaves = [x.detach().requires_grad_(backward and i < case.features) for i, x in enumerate(inputs)]
    kind, autocast = inputs[0].device.type, precision.autocast
    with torch.set_grad_enabled(backward), torch.autocast(kind, autocast, enabled=autocast is not None):
        out = case.run(leaves, backend)
    found = gradients(out, leaves[: case.features], out.detach()) if backward else ()
    return tuple(x[-1:].detach().clone() for x in (out, *found))


def flat(run: Run) -> tuple[Tensor, ...]:
    """The output, then every gradient."""
    return run.out, *run.gradients


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are equal; NaN equals NaN, because another check finds NaN."""
    return torch.equal(a, b) or (torch.equal(a.isnan(), b.isnan()) and torch.equal(a.nan_to_num(), b.nan_to_num()))
