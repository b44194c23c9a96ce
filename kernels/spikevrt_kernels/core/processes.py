"""Runs Python functions in processes of their own; a crash, a hang or a broken device affects only that function.

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
"""Seconds after its limit at which a process ends itself if its parent does not end it."""
START = 60.0
"""Seconds allowed for the start of Python and its imports on a busy machine."""
FOREVER = float("inf")
TICK = 0.2
"""Seconds after which a main thread that waits for other threads looks for signals. One of them that starts a process
blocks its signals for a moment, and may then take what the kernel meant for the main thread, which sleeps on."""
END = object()
ERROR = re.compile(r"(\w+\.)*\w*(Error|Exception)\b")
"""The line of a traceback that names the error."""


def cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Job(NamedTuple):
    """A call in a fresh Python process."""

    name: str
    """Name for people, for example `temporal_block triton bfloat16`."""
    function: Callable[..., Iterable[Any]]
    """A function of a module (not `__main__`), found by its name. It yields rows that can be pickled."""
    arguments: tuple[Any, ...] = ()
    limit: float = FOREVER
    """Time limit in seconds, including the start of Python."""
    patience: float = FOREVER
    """Time limit for each row in seconds; START more for the first one."""
    log: Path | None = None
    """File for its output; None discards it."""


class Ending(NamedTuple):
    """How a job ended."""

    job: Job
    rows: list[Any]
    reason: str | None
    """None if it ended well, else a few words, for example `crashes (SIGSEGV)`."""
    seconds: float


def run_jobs(
    jobs: Sequence[Job], workers: int = 1, note: Callable[[Job, Any], object] = lambda job, row: None
) -> list[Ending]:
    """Run jobs in order; returns their endings in the same order.

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
    """Wait for the result of another thread; signals are handled meanwhile."""
    while not wait([future], TICK).done:
        pass
    return future.result()


class Running:
    """The processes that are running."""

    def __init__(self) -> None:
        self.processes: set[subprocess.Popen[bytes]] = set()
        self.ended, self.lock = False, threading.Lock()

    def add(self, process: subprocess.Popen[bytes]) -> None:
        """Add a process; it is ended at once after `end`."""
        with self.lock:
            self.processes.add(process)
            ended = self.ended
        if ended:
            kill(process)

    def remove(self, process: subprocess.Popen[bytes]) -> None:
        """Remove a process."""
        with self.lock:
            self.processes.discard(process)

    def end(self) -> None:
        """End all processes, and all that are added later."""
        with self.lock:
            self.ended, left = True, list(self.processes)
        for process in left:
            kill(process)


def run_job(job: Job, running: Running, note: Callable[[Job, Any], object]) -> Ending:
    """Run a job: collect rows until it ends or a limit has passed."""
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
    """Start Python with the same module path in a new process group; its output goes to `errors`."""
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
    """Collect rows until the process closes its pipe; returns which limit has passed, if any."""
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
    """Put rows into a queue while complete ones arrive."""
    assert process.stdout
    with process.stdout as pipe:
        try:
            while True:
                arrived.put(pickle.load(pipe))
        except (EOFError, pickle.UnpicklingError, OSError, ValueError):
            arrived.put(END)


def why_ended(code: int, errors: IO[bytes]) -> str | None:
    """None for a normal end; else the signal, or the exit code with the last message."""
    if code == 0:
        return None
    if code < 0:
        return f"crashes ({signal_name(-code)})"
    errors.seek(0)
    lines = errors.read().decode(errors="replace").strip().splitlines()
    return f"ends with code {code}" + (f": {last_words(lines)[:200]}" if lines else "")


def last_words(lines: Sequence[str]) -> str:
    """The line of a traceback that names the error (CUDA's advice may follow it), else the last line."""
    named = [line for line in lines if ERROR.match(line)]
    return (named or lines)[-1].strip()


def signal_name(number: int) -> str:
    """Name of a signal, for example `SIGSEGV`."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started, if it still runs."""
    with suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)


def child() -> None:
    """Runs in the process: read a job from standard input, and write its rows to the original standard output."""
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
    """Let the system end this process a little after its limit, even if its parent is gone."""
    left = min(job.patience + START, start + job.limit - time.monotonic())
    if left != FOREVER:
        signal.alarm(max(1, int(left) + GRACE))
