"""Trials of backends: every operator, backend and precision in a process of its own; then times, one at a time.

A kernel that crashes, hangs or leaves its device unusable costs the rows of its own process.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from spikevrt_kernels.checks.comparison import EXACT, Comparison, Judge, Yardstick, moved_in_company
from spikevrt_kernels.checks.timing import Timer
from spikevrt_kernels.core.backends import BackendError
from spikevrt_kernels.core.case import Case, Precision
from spikevrt_kernels.core.precision import settle_products
from spikevrt_kernels.core.processes import Ending, Job, run_jobs

RIGHT, WRONG, NO_MEMORY, UNPROVED, CANNOT = "right", "WRONG", "no memory", "no memory to compare", "cannot run"
LACK = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "SIGKILL")
"""Messages of CUDA libraries that got no memory; PyTorch's exception covers only its own allocations."""
PATIENCE = 120.0
"""Time limit of a case in seconds; nearly all of it is for compiling kernels."""


class Trial(NamedTuple):
    """A backend on one case in one precision."""

    case: Case
    precision: Precision
    backend: str
    yardstick: Yardstick = EXACT
    backward: bool = True
    """Whether gradients are compared too."""

    @property
    def process(self) -> tuple[str, str, str, Yardstick, bool]:
        """Trials with the same key share a process."""
        return self.case.op, self.backend, self.precision.name, self.yardstick, self.backward

    def __str__(self) -> str:
        return f"{self.case.op} {self.backend} {self.precision.name}"


class Row(NamedTuple):
    """The result of a trial."""

    case: Case
    precision: Precision
    backend: str
    verdict: str
    reason: str | None = None
    """What is wrong, or why it cannot run."""
    comparison: Comparison | None = None
    seconds: float | None = None
    """Time of one run, with backward if there are gradients."""
    reference_seconds: float | None = None


class Machine(NamedTuple):
    """Where trials run, and how many at a time."""

    device: torch.device
    workers: int = 1
    """Processes at a time; times are always measured one at a time."""
    note: Callable[[str], object] = lambda name: None
    """Called with the trial's name after every result."""


Answers = Iterator[tuple[int, dict[str, Any]]]
"""What a process sends: the number of a trial, and the fields of its row, which are empty when the trial starts."""


def prove(trials: Sequence[Trial], machine: Machine) -> list[Row]:
    """Compare every backend with its yardstick; returns rows in the order of the trials.

    What had no memory beside the other processes is asked again, alone.
    """
    rows = ask(judged_cases, trials, machine)
    short = [i for i, row in enumerate(rows) if row.verdict in (NO_MEMORY, UNPROVED)]
    if machine.workers > 1 and short:
        again = ask(judged_cases, [trials[i] for i in short], machine._replace(workers=1))
        for i, row in zip(short, again, strict=True):
            rows[i] = row
    return rows


def prove_huge(trials: Sequence[Trial], machine: Machine) -> list[Row]:
    """Compare many clips with the last of them alone; one process at a time, because it needs all memory."""
    return ask(huge_cases, trials, machine._replace(workers=1))


def take_times(trials: Sequence[Trial], machine: Machine) -> list[Row]:
    """Seconds of every trial, measured in one process at a time."""
    return ask(timed_cases, trials, machine._replace(workers=1))


def with_times(rows: Sequence[Row], machine: Machine) -> list[Row]:
    """Add times of the backend and of the reference to rows that are not wrong; a failure here makes a row wrong."""
    runs = [row for row in rows if row.verdict in (RIGHT, UNPROVED)]
    trials = {
        time_key(row, backend): Trial(row.case, row.precision, backend, backward=row.precision.floating)
        for row in runs
        for backend in (row.case.reference, row.backend)
    }
    found = dict(zip(trials, take_times(list(trials.values()), machine), strict=True))
    return [timed_row(row, found) if row in runs else row for row in rows]


def timed_row(row: Row, found: Mapping[Any, Row]) -> Row:
    """A row with its times."""
    own, reference = found[time_key(row, row.backend)], found[time_key(row, row.case.reference)]
    if own.verdict == WRONG:
        return row._replace(verdict=WRONG, reason=own.reason)
    return row._replace(seconds=own.seconds, reference_seconds=reference.seconds)


def time_key(row: Row, backend: str) -> tuple[tuple[str, str, str], str, str]:
    """Trials with the same key share one measured time."""
    return row.case.key, row.precision.name, backend


def ask(function: Callable[[Sequence[Trial], str], Answers], trials: Sequence[Trial], machine: Machine) -> list[Row]:
    """A row for every trial; trials that may share a process run in one."""
    groups: dict[Any, list[int]] = defaultdict(list)
    for i, trial in enumerate(trials):
        groups[trial.process].append(i)
    jobs = [job(function, [trials[i] for i in group], machine.device) for group in groups.values()]

    def told(job: Job, answer: tuple[int, dict[str, Any]]) -> None:
        if answer[1]:
            machine.note(job.name)

    rows: dict[int, Row] = {}
    for group, ending in zip(groups.values(), run_jobs(jobs, machine.workers, told), strict=True):
        rows.update(zip(group, rows_of(ending), strict=True))
    return [rows[i] for i in range(len(trials))]


def job(function: Callable[..., Answers], trials: Sequence[Trial], device: torch.device) -> Job:
    """The job that runs the trials of one process."""
    return Job(str(trials[0]), function, (trials, str(device)), patience=PATIENCE)


def rows_of(ending: Ending) -> Iterator[Row]:
    """A row for every trial of a process; without a result it is wrong and says how the process ended."""
    trials: Sequence[Trial] = ending.job.arguments[0]
    answers = {i: fields for i, fields in ending.rows if fields}
    at = ending.rows[-1][0] if ending.rows else 0
    for i, trial in enumerate(trials):
        verdict = NO_MEMORY if lacks_memory(str(ending.reason)) else WRONG
        lost = {"verdict": verdict, "reason": f"{ending.reason} at {trials[at].case.shape}"}
        yield Row(*trial[:3], **answers.get(i, lost))


def judged_cases(trials: Sequence[Trial], device: str) -> Answers:
    """Runs in a process: yield verdicts. It ends at an error that makes the device unusable for later cases."""
    first = trials[0]
    settle_products()
    judge = Judge(first.precision, torch.device(device), first.backward, first.yardstick)
    for i, trial in enumerate(trials):
        yield i, {}
        yield i, verdict(judge, trial)


def huge_cases(trials: Sequence[Trial], device: str) -> Answers:
    """Runs in a process: whether the last clip of many gives the same bits alone."""
    for i, trial in enumerate(trials):
        yield i, {}
        try:
            moved = moved_in_company(trial.case, trial.backend, trial.precision, torch.device(device), trial.backward)
        except Exception as error:
            yield i, failed(error, trial)
        else:
            reason = f"wrong: {', '.join(moved)}: other bits among many clips than alone at {trial.case.shape}"
            yield i, {"verdict": WRONG if moved else RIGHT, "reason": reason if moved else None}


def timed_cases(trials: Sequence[Trial], device: str) -> Answers:
    """Runs in a process: yield seconds."""
    first = trials[0]
    settle_products()
    timer = Timer(first.precision, torch.device(device), first.backward)
    for i, trial in enumerate(trials):
        yield i, {}
        try:
            yield i, {"verdict": RIGHT, "seconds": timer.seconds(trial.case, trial.backend)}
        except Exception as error:
            yield i, failed(error, trial)


def verdict(judge: Judge, trial: Trial) -> dict[str, Any]:
    """The fields of a row: a backend's errors on a case, or why there are none."""
    try:
        judge.prepare(trial.case)
    except torch.OutOfMemoryError:
        return {"verdict": UNPROVED}
    try:
        comparison = judge.compare(trial.case, trial.backend)
    except Exception as error:
        return failed(error, trial)
    reason = comparison.reason
    where = f" at {trial.case.shape} in {trial.precision.name}"
    return {
        "verdict": WRONG if reason else RIGHT,
        "reason": reason and reason + where,
        "comparison": comparison,
    }


def failed(error: Exception, trial: Trial) -> dict[str, Any]:
    """The fields of a row without a comparison."""
    kinds = {torch.OutOfMemoryError: NO_MEMORY, BackendError: CANNOT}
    other = NO_MEMORY if lacks_memory(str(error)) else WRONG
    return {"verdict": kinds.get(type(error), other), "reason": failure(error, trial)}


def lacks_memory(text: str) -> bool:
    """Whether an error means too little memory."""
    return any(words in text for words in LACK)


def failure(error: Exception, trial: Trial) -> str:
    """An exception as one line; a kernel may fail anywhere from its compiler to its launch."""
    case, backend = trial.case, trial.backend
    if isinstance(error, BackendError):
        own = str(error).removeprefix(f"{case.op}: ").removeprefix(f"attention backend {backend} ")
        return own.partition("; use ")[0]
    if isinstance(error, torch.OutOfMemoryError):
        return f"out of memory at {case.shape}"
    first = (str(error).strip().splitlines() or [""])[0]
    return f"fails at {case.shape}: {type(error).__name__}: {first}"
