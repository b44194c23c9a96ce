"""Python functions in processes of their own: one that crashes, hangs or breaks a device costs its own answer only.

A function gives its answers as rows, which arrive one by one: what was found before the end is kept.
"""

import os
import pickle
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

BOOT = "from spikevrt_kernels.core.processes import child; child()"
GRACE = 5
"""Seconds after its limit at which a process ends by itself, should nobody be there to end it."""
START = 60.0
"""Seconds that Python and its imports may take on a busy machine."""
FOREVER = float("inf")
TICK = 0.2
"""Seconds after which a main thread that waits for other threads looks for signals. One of them that starts a process
blocks its signals for a moment, and may then take what the kernel meant for the main thread, which sleeps on."""
END = object()
ERROR = re.compile(r"(\w+\.)*\w*(Error|Exception)\b")
"""How a traceback names what was raised."""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Job(NamedTuple):
    """A call in a fresh Python process."""

    name: str
    """For people: `temporal_block triton bfloat16`."""
    function: Callable[..., Iterable[Any]]
    """Of a module, not of `__main__`: it is found again by its name. Gives rows, which must be picklable."""
    arguments: tuple[Any, ...] = ()
    limit: float = FOREVER
    """Seconds for the whole, with the start of Python."""
    patience: float = FOREVER
    """Seconds without a row; START more for the first one."""
    log: Path | None = None
    """Where all that it prints is kept; nowhere if not given."""


class Ending(NamedTuple):
    """How a job ended."""

    job: Job
    rows: list[Any]
    reason: str | None
    """None where it came to its end, else a few words: `crashes (SIGSEGV)`."""
    seconds: float


def run_jobs(
    jobs: Sequence[Job], workers: int = 1, note: Callable[[Job, Any], object] = lambda job, row: None
) -> list[Ending]:
    """Run jobs, the first ones first; their endings in the order of the jobs.

    Args:
        jobs: what to run.
        workers: processes at a time.
        note: told every row as it comes, from threads, one at a time.
    """
    running, lock = Running(), threading.Lock()

    def told(job: Job, row: Any) -> None:
        with lock:
            note(job, row)

    with ThreadPoolExecutor(max(1, workers)) as pool:
        futures = [pool.submit(run_job, job, running, told) for job in jobs]
        try:
            return [result(future) for future in futures]
        except BaseException:  # Ctrl-C above all: nothing goes on behind it.
            for future in futures:
                future.cancel()
            running.end()
            raise


def result(future: "Future[Ending]") -> Ending:
    """What another thread comes to; signals are heeded meanwhile."""
    while not wait([future], TICK).done:
        pass
    return future.result()


class Running:
    """The processes that run now."""

    def __init__(self) -> None:
        self.processes: set[subprocess.Popen[bytes]] = set()
        self.ended, self.lock = False, threading.Lock()

    def add(self, process: subprocess.Popen[bytes]) -> None:
        """A process more; it is ended at once where all are."""
        with self.lock:
            self.processes.add(process)
            ended = self.ended
        if ended:
            kill(process)

    def remove(self, process: subprocess.Popen[bytes]) -> None:
        """A process less."""
        with self.lock:
            self.processes.discard(process)

    def end(self) -> None:
        """End all of them, and those that are still to come."""
        with self.lock:
            self.ended, left = True, list(self.processes)
        for process in left:
            kill(process)


def run_job(job: Job, running: Running, note: Callable[[Job, Any], object]) -> Ending:
    """Start, collect rows until the end or until a limit has passed."""
    start = time.monotonic()
    with job.log.open("w+b") if job.log else tempfile.TemporaryFile() as errors:
        process = start_child(job, errors)
        running.add(process)
        try:
            rows, late = collect(job, process, start, note)
            reason = late or why_ended(process.wait(), errors)
        finally:
            kill(process)
            process.wait()
            running.remove(process)
    return Ending(job, rows, reason, time.monotonic() - start)


def start_child(job: Job, errors: IO[bytes]) -> subprocess.Popen[bytes]:
    """A Python that finds the same modules, in a process group of its own; all that it prints goes into `errors`."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", BOOT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        env=environment,
        start_new_session=True,
    )
    assert process.stdin
    with suppress(BrokenPipeError), process.stdin as pipe:
        pickle.dump(job, pipe)
    return process


def collect(
    job: Job, process: subprocess.Popen[bytes], start: float, note: Callable[[Job, Any], object]
) -> tuple[list[Any], str | None]:
    """Rows until the process closes its end, and what was too late."""
    arrived: queue.Queue[Any] = queue.Queue()
    threading.Thread(target=receive, args=(process, arrived), daemon=True).start()
    rows: list[Any] = []
    while True:
        left, patience = start + job.limit - time.monotonic(), job.patience + (0 if rows else START)
        longest = min(left, patience)
        try:
            row = arrived.get(timeout=None if longest == FOREVER else max(0.0, longest))
        except queue.Empty:
            kill(process)
            seconds = job.limit if left < patience else patience
            return rows, f"gave no answer within {seconds:.3g} s"
        if row is END:
            return rows, None
        rows.append(row)
        note(job, row)


def receive(process: subprocess.Popen[bytes], arrived: "queue.Queue[Any]") -> None:
    """Rows into a queue, as long as whole ones come."""
    assert process.stdout
    with process.stdout as pipe:
        try:
            while True:
                arrived.put(pickle.load(pipe))
        except (EOFError, pickle.UnpicklingError, OSError, ValueError):
            arrived.put(END)


def why_ended(code: int, errors: IO[bytes]) -> str | None:
    """None for a good end; else the signal, or the exit code with what was said last."""
    if code == 0:
        return None
    if code < 0:
        return f"crashes ({signal_name(-code)})"
    errors.seek(0)
    lines = errors.read().decode(errors="replace").strip().splitlines()
    return f"ends with code {code}" + (f": {last_words(lines)[:200]}" if lines else "")


def last_words(lines: Sequence[str]) -> str:
    """The line of a traceback that names its error, which CUDA's advice may follow; without one the last line."""
    named = [line for line in lines if ERROR.match(line)]
    return (named or lines)[-1].strip()


def signal_name(number: int) -> str:
    """`SIGSEGV`."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started; one that has ended is left alone."""
    with suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)


def child() -> None:
    """The other side: one job from standard input, its rows to what was standard output."""
    rows = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # What anybody prints must not stand between the rows.
    job: Job = pickle.load(sys.stdin.buffer)
    start = time.monotonic()
    set_alarm(job, start)
    for row in job.function(*job.arguments):
        pickle.dump(row, rows)
        rows.flush()
        set_alarm(job, start)


def set_alarm(job: Job, start: float) -> None:
    """The system ends this process a little after its limit, even where the one that started it is gone."""
    left = min(job.patience + START, start + job.limit - time.monotonic())
    if left != FOREVER:
        signal.alarm(max(1, int(left) + GRACE))
