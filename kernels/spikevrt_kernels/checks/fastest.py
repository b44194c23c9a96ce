"""Finds the fastest correct backend of every operator on this machine.

Knows nothing of a model: the caller brings the operator's cases.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from spikevrt_kernels.checks.comparison import LARGE
from spikevrt_kernels.checks.trials import NO_MEMORY, RIGHT, UNPROVED, Machine, Row, Trial, prove, take_times
from spikevrt_kernels.core.backends import BackendError
from spikevrt_kernels.core.case import Case, Precision, pure


class Trials(NamedTuple):
    """The shapes on which an operator is tried."""

    checked: tuple[Case, ...] = ()
    """Shapes on which a backend must be right, reduced so that float64 fits into memory."""
    timed: tuple[Case, ...] = ()
    """Shapes in full size, to measure times; a kernel is compared with `sdpa` on them."""
    exact: tuple[Case, ...] = ()
    """Shapes on which a kernel must be right in float32 too, because errors allowed in half precision hide too much."""


class Ask(NamedTuple):
    """A question about the backends of some operators."""

    trials: Mapping[str, Trials]
    backends: Mapping[str, Sequence[str]]
    """Backends by operator; in a tie the first one is chosen."""
    precision: Precision
    backward: bool
    """Whether gradients are needed."""
    timed: bool = True
    """Whether to measure times too."""


class Finding(NamedTuple):
    """The result of one backend."""

    backend: str
    right: bool = True
    seconds: float | None = None
    """Time of one run of all timed cases, in seconds."""
    reason: str | None = None
    """Why it is not used, or why it has no time."""
    short_of_memory: bool = False
    """Whether memory was too small to check or to time it."""

    def __str__(self) -> str:
        if self.reason or self.seconds is None:
            return self.reason or "not timed"
        return f"{1e3 * self.seconds:.1f} ms"


class Choice(NamedTuple):
    """The results of an operator's backends, in order of preference."""

    op: str
    findings: tuple[Finding, ...]

    @property
    def taken(self) -> str:
        """The fastest correct backend; if none has a time, the first correct one.

        Raises:
            BackendError: none is right.
        """
        right = [f for f in self.findings if f.right]
        if not right:
            reasons = "; ".join(f"{f.backend}: {f}" for f in self.findings)
            raise BackendError(f"{self.op}: no attention backend is right here ({reasons}); sdpa by name goes untried")
        return min(right, key=lambda f: float("inf") if f.seconds is None else f.seconds).backend

    def require(self, backend: str) -> None:
        """Raise if a backend that was asked for by name is wrong.

        Raises:
            BackendError: it cannot run, fails, or its numbers are off; the message says which.
        """
        for finding in self.findings:
            if finding.backend == backend and not finding.right:
                raise BackendError(f"{self.op}: attention backend {backend}: {finding}; use auto or sdpa")

    def __str__(self) -> str:
        """`temporal_block takes triton, 3.1 ms (sdpa: 9.2 ms; naive: out of memory at ...)`."""
        taken = self.taken
        own = next(f for f in self.findings if f.backend == taken)
        others = "; ".join(f"{f.backend}: {f}" for f in self.findings if f is not own)
        return f"{self.op} takes {taken}, {own} ({others})"


def choices(asked: Ask, machine: Machine) -> list[Choice]:
    """Try every backend of every operator: check it on small and on full-size shapes, then measure its time."""
    found = {(op, backend): Finding(backend) for op, own in asked.backends.items() for backend in own}
    for row in prove(small_trials(asked), machine):
        note(found, row, row.verdict == RIGHT)
    # Large ones need the memory of the whole device; where there is too little for sdpa in float32, time decides.
    for row in prove(of_right(found, large_trials(asked)), machine._replace(workers=1)):
        note(found, row, row.verdict in (RIGHT, UNPROVED, NO_MEMORY))
    for row in take_times(of_right(found, timed_trials(asked)), machine) if asked.timed else ():
        add_time(found, row)
    return [Choice(op, tuple(found[op, backend] for backend in own)) for op, own in asked.backends.items()]


Findings = dict[tuple[str, str], Finding]
"""By operator and backend."""


def of_right(found: Findings, trials: Sequence[Trial]) -> list[Trial]:
    """The trials of backends that are right so far."""
    return [trial for trial in trials if found[trial.case.op, trial.backend].right]


def note(found: Findings, row: Row, passes: bool) -> None:
    """Record the result of a check; the first failure is kept."""
    key = row.case.op, row.backend
    if found[key].right and not passes:
        reason = row.reason or f"{row.verdict} at {row.case.shape}"
        found[key] = Finding(row.backend, False, None, reason, row.verdict in (NO_MEMORY, UNPROVED))


def add_time(found: Findings, row: Row) -> None:
    """Add the time of a case. Without memory a backend has no time; after any other failure it is not used."""
    key = row.case.op, row.backend
    before, memory = found[key], row.verdict == NO_MEMORY
    if before.reason is not None:
        return
    if row.seconds is None:
        found[key] = Finding(row.backend, memory, None, row.reason, memory)
    else:
        found[key] = before._replace(seconds=(before.seconds or 0.0) + row.seconds)


def trial_count(asked: Ask) -> int:
    """Number of trials that `choices` runs if all backends are right."""
    timed = timed_trials(asked) if asked.timed else []
    return len(small_trials(asked)) + len(large_trials(asked)) + len(timed)


def small_trials(asked: Ask) -> list[Trial]:
    """Trials of every backend on the checked cases; of kernels in float32 too."""
    found = []
    for op, backends in asked.backends.items():
        for backend in backends:
            own = asked.trials[op]
            found += [Trial(case, asked.precision, backend, backward=asked.backward) for case in own.checked]
            exact = own.exact if backend == "triton" and asked.precision.autocast else ()
            found += [Trial(case, pure(torch.float32), backend, backward=asked.backward) for case in exact]
    return found


def large_trials(asked: Ask) -> list[Trial]:
    """Trials of kernels on the timed cases that are not among the checked ones."""
    return [
        Trial(case, asked.precision, "triton", LARGE, asked.backward)
        for op, backends in asked.backends.items()
        if "triton" in backends
        for case in asked.trials[op].timed
        if case.key not in {small.key for small in asked.trials[op].checked}
    ]


def timed_trials(asked: Ask) -> list[Trial]:
    """Trials of every backend on the timed cases."""
    return [
        Trial(case, asked.precision, backend, backward=asked.backward)
        for op, backends in asked.backends.items()
        for backend in backends
        for case in asked.trials[op].timed
    ]
