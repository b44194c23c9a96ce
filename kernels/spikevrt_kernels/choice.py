"""Which backend of an operator to take on this machine: the fastest one that is right.

Knows nothing of a model: the caller brings the operator's cases, and what judges and times them.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from spikevrt_kernels.backends import BackendError
from spikevrt_kernels.checks.case import Case

ReasonOf = Callable[[Case, str], str | None]
"""None where a backend is right on a case, else what is wrong."""
SecondsOf = Callable[[Case, str], float]


class Trials(NamedTuple):
    """The shapes of an operator."""

    checked: tuple[Case, ...] = ()
    """Here a backend must be right: cut to what float64 has room for."""
    timed: tuple[Case, ...] = ()
    """As large as they run."""


class Finding(NamedTuple):
    """What was found about one backend."""

    backend: str
    right: bool = True
    seconds: float | None = None
    """One run of every timed case together."""
    reason: str | None = None
    """Why it is left out, or has no time."""

    def __str__(self) -> str:
        return self.reason or f"{1e3 * (self.seconds or 0):.1f} ms"


class Choice(NamedTuple):
    """The backends of an operator, in the order of preference where nothing else decides."""

    op: str
    findings: tuple[Finding, ...]

    @property
    def taken(self) -> str:
        """The fastest that is right; where none could be timed, the first that is right.

        Raises:
            BackendError: none is right.
        """
        right = [f for f in self.findings if f.right]
        if not right:
            reasons = "; ".join(f"{f.backend}: {f}" for f in self.findings)
            raise BackendError(f"{self.op}: no attention backend is right here ({reasons})")
        return min(right, key=lambda f: float("inf") if f.seconds is None else f.seconds).backend

    def __str__(self) -> str:
        """`temporal_block takes triton, 3.1 ms (sdpa: 9.2 ms; naive: out of memory at ...)`."""
        taken = self.taken
        own = next(f for f in self.findings if f.backend == taken)
        others = "; ".join(f"{f.backend}: {f}" for f in self.findings if f is not own)
        return f"{self.op} takes {taken}, {own} ({others})"


def choose(op: str, trials: Trials, candidates: Sequence[str], reason_of: ReasonOf, seconds_of: SecondsOf) -> Choice:
    """Try every candidate: first whether it is right, then how fast.

    Args:
        op: the operator's name.
        trials: its shapes.
        candidates: backends, the one to take in a tie first.
        reason_of: asked for every checked case.
        seconds_of: asked for every timed case, of backends that are right.
    """
    reasons = why_wrong(trials.checked, candidates, reason_of)
    findings = [
        timed(backend, trials.timed, seconds_of) if reason is None else Finding(backend, False, None, reason)
        for backend, reason in reasons.items()
    ]
    return Choice(op, tuple(findings))


def why_wrong(cases: Sequence[Case], backends: Sequence[str], reason_of: ReasonOf) -> dict[str, str | None]:
    """For every backend None where it is right on all cases, else one line: it cannot run, fails, or is off."""
    reasons: dict[str, str | None] = dict.fromkeys(backends)
    for case in cases:  # The reference of a case serves all backends.
        for backend in [b for b, reason in reasons.items() if reason is None]:
            try:
                reasons[backend] = reason_of(case, backend)
            except Exception as error:
                reasons[backend] = failure(error, case, backend)
    return reasons


def timed(backend: str, cases: Sequence[Case], seconds_of: SecondsOf) -> Finding:
    """A backend that is right, with its time; running out of memory costs it only that."""
    seconds = 0.0
    for case in cases:
        try:
            seconds += seconds_of(case, backend)
        except Exception as error:
            memory = isinstance(error, torch.OutOfMemoryError)
            return Finding(backend, memory, None, failure(error, case, backend))
    return Finding(backend, True, seconds)


def failure(error: Exception, case: Case, backend: str) -> str:
    """What an exception says, in one line: a kernel may fail in any way, from its compiler to its launch."""
    if isinstance(error, BackendError):
        own = str(error).removeprefix(f"{case.op}: ").removeprefix(f"attention backend {backend} ")
        return own.partition("; use ")[0]
    if isinstance(error, torch.OutOfMemoryError):
        return f"out of memory at {case.shape}"
    first = (str(error).strip().splitlines() or [""])[0]
    return f"fails at {case.shape}: {type(error).__name__}: {first}"


def require(op: str, trials: Trials, backend: str, reason_of: ReasonOf) -> None:
    """Raise where a backend that was asked for by name is wrong.

    Raises:
        BackendError: it cannot run, fails, or its numbers are off; the message says which.
    """
    reason = why_wrong(trials.checked, [backend], reason_of)[backend]
    if reason is not None:
        raise BackendError(f"{op}: attention backend {backend}: {reason}; use auto or sdpa")
