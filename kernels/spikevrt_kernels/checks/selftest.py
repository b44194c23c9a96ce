"""The self-test of a machine: what can be tried there, and a row of figures for each trial."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch

from spikevrt_kernels.backends import TRITON_OPS, BackendError, why_not_on
from spikevrt_kernels.checks.case import Case, Precision, mixed, pure
from spikevrt_kernels.checks.comparison import Comparison, Judge
from spikevrt_kernels.checks.operators import OPERATORS
from spikevrt_kernels.checks.timing import Timer
from spikevrt_kernels.choice import failure
from spikevrt_kernels.launches import interpreted

RIGHT, WRONG, NO_MEMORY, UNPROVED, CANNOT = "right", "WRONG", "no memory", "no memory for float64", "cannot run"
CPU_TYPES = (pure(torch.float64), pure(torch.float32), mixed(torch.bfloat16))
INTERPRETER_TYPES = (pure(torch.float64), pure(torch.float32), pure(torch.float16))
CUDA_TYPES = (pure(torch.float32), pure(torch.float16), mixed(torch.float16))
BF16_TYPES = (pure(torch.bfloat16), mixed(torch.bfloat16))


class Group(NamedTuple):
    """Backends to try on one case in one precision."""

    case: Case
    precision: Precision
    backends: tuple[str, ...]


class Row(NamedTuple):
    """What one trial found."""

    case: Case
    precision: Precision
    backend: str
    verdict: str
    reason: str | None = None
    """What is wrong, or cannot run."""
    comparison: Comparison | None = None
    seconds: float | None = None
    """One run, forward and backward where there are gradients."""
    reference_seconds: float | None = None


def why_no_kernels(device: torch.device) -> str | None:
    """None where Triton kernels run on a device, or in the interpreter on the CPU; else why not, in a few words."""
    reason = why_not_on("kernels", torch.empty(1, 1, 1, 1, 1, device=device))
    return reason and reason.rpartition("cannot run: ")[2].partition("; use ")[0]


def precisions(device: torch.device, backend: str) -> tuple[Precision, ...]:
    """What a backend is tried in on a device."""
    if device.type == "cuda":
        return CUDA_TYPES + (BF16_TYPES if torch.cuda.is_bf16_supported(including_emulation=False) else ())
    return INTERPRETER_TYPES if backend == "triton" else CPU_TYPES


def odd_groups(device: torch.device, ops: Iterable[str]) -> Iterator[Group]:
    """Every operator on its odd shapes, in every type that runs here."""
    kernels = why_no_kernels(device) is None
    for op in ops:
        operator = OPERATORS[op]
        for backend in operator.backends:
            if backend == "triton" and not (kernels and op in TRITON_OPS):
                continue
            types = precisions(device, backend) if operator.floating else (pure(torch.uint8),)
            cases = operator.tiny if backend == "triton" and interpreted() else operator.odd
            yield from (Group(case, precision, (backend,)) for precision in types for case in cases)


def own_groups(device: torch.device, cases: Iterable[Case], precision: Precision) -> Iterator[Group]:
    """A model's own shapes, in the precision that it runs in."""
    kernels = why_no_kernels(device) is None
    for case in cases:
        backends = OPERATORS[case.op].backends
        yield Group(case, precision, tuple(b for b in backends if b != "triton" or (kernels and case.op in TRITON_OPS)))


def rows(group: Group, device: torch.device) -> list[Row]:
    """Try the backends of a group: a row each."""
    case, precision, backends = group
    floating = OPERATORS[case.op].floating
    judge, timer = Judge(precision, device, floating), Timer(precision, device, floating)
    reference = seconds_or_none(timer, case, case.reference)
    found = []
    for backend in backends:
        row = judged(judge, case, backend)._replace(reference_seconds=reference)
        slow = backend == "triton" and interpreted()
        found.append(row if slow else row._replace(seconds=seconds_or_none(timer, case, backend)))
    return found


def judged(judge: Judge, case: Case, backend: str) -> Row:
    """A backend's errors on one case, or why there are none."""
    row = Row(case, judge.precision, backend, UNPROVED)
    try:
        judge.prepare(case)
    except torch.OutOfMemoryError:
        return row
    try:
        comparison = judge.compare(case, backend)
    except torch.OutOfMemoryError:
        return row._replace(verdict=NO_MEMORY)
    except BackendError as error:
        return row._replace(verdict=CANNOT, reason=failure(error, case, backend))
    except Exception as error:
        return row._replace(verdict=WRONG, reason=failure(error, case, backend))
    reason = comparison.reason
    return row._replace(verdict=WRONG if reason else RIGHT, reason=reason, comparison=comparison)


def seconds_or_none(timer: Timer, case: Case, backend: str) -> float | None:
    """Time of a backend, or None where it does not run; `judged` says why."""
    try:
        return timer.seconds(case, backend)
    except Exception:
        return None
