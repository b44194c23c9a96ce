"""Launches compiled before they run, by as many processes as there are cores, into Triton's cache on disk.

The launcher itself compiles, on pointers without memory, for the architecture that it is told: real tensors find the
same entries later. No process makes a CUDA context.
"""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from queue import SimpleQueue
from threading import Event, Timer
from typing import Any, NamedTuple

from spikevrt_kernels.keys import by_key
from spikevrt_kernels.launches import Launch

SECONDS = 120
"""What one kernel may take; two or three are usual."""
START_SECONDS = 300
"""What Python may take to start and to import."""
COMMAND = (sys.executable, "-c", "from spikevrt_kernels.warmup import serve; serve()")


class Job(NamedTuple):
    """A launch that another process can compile."""

    module: str
    kernel: str
    architecture: int
    arguments: dict[str, Any]
    """Pointers, numbers and constants by the kernel's names."""
    options: dict[str, Any]

    def compile(self) -> None:
        """Compile into Triton's cache on disk, or find it there."""
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
    jobs = [job_of(launch, architecture) for launch in by_key(launches).values()]
    if not jobs:
        return []
    count = min(processes or len(os.sched_getaffinity(0)), len(jobs))
    idle: SimpleQueue[Worker] = SimpleQueue()
    workers = [Worker(seconds) for _ in range(count)]
    for worker in workers:
        idle.put(worker)

    def compile_one(job: Job) -> str | None:
        worker = idle.get()
        reason = worker.compile(job)
        idle.put(worker)
        return reason and f"{job.kernel}: {reason}"

    pool, failed = ThreadPoolExecutor(count), []
    try:
        for line in pool.map(compile_one, jobs):
            done()
            failed += [] if line is None else [line]
        return failed
    finally:
        # `map` has called off what was not begun; what is being compiled ends with its process.
        pool.shutdown(wait=False)
        for worker in workers:
            worker.close()


def job_of(launch: Launch, architecture: int) -> Job:
    """A launch as another process can read it."""
    plain = launch.without_tensors()
    return Job(plain.kernel.__module__, plain.kernel.__name__, architecture, plain.arguments, plain.options)


class Worker:
    """A process that compiles one job after the other; it is started anew where one has ended it."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.process: subprocess.Popen[bytes] | None = None

    def compile(self, job: Job) -> str | None:
        """None, or why it failed."""
        if self.process is None:
            self.process = start()
            self.ask(None, START_SECONDS)
        return self.ask(job, self.seconds)

    def ask(self, job: Job | None, seconds: float) -> str | None:
        """The answer to a job, or what happened to the process."""
        process, late = self.process, Event()
        if process is None or process.stdin is None or process.stdout is None:
            return "its compiler did not start"

        def end() -> None:
            late.set()
            process.kill()

        timer = Timer(seconds, end)
        timer.start()
        try:
            pickle.dump(job, process.stdin)
            process.stdin.flush()
            return pickle.load(process.stdout)
        except (EOFError, OSError):
            self.process = None
            process.kill()
            process.wait()
            return f"not compiled after {seconds:g} s" if late.is_set() else f"its compiler ended: {process.returncode}"
        finally:
            timer.cancel()

    def close(self) -> None:
        """End the process."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait()


def start() -> "subprocess.Popen[bytes]":
    """A fresh Python that finds what this one does; what compilers print is dropped."""
    path = os.pathsep.join(folder or os.getcwd() for folder in sys.path)
    environment = os.environ | {"PYTHONPATH": path}
    pipe = subprocess.PIPE
    return subprocess.Popen(COMMAND, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=environment)


def serve() -> None:
    """Compile the jobs that come in, and answer each with None or one line."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    while True:
        try:
            job: Job | None = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        pickle.dump(why_not(job) if job else None, answers)
        answers.flush()


def why_not(job: Job) -> str | None:
    """None where a job compiles, else the first line of what its compiler says."""
    try:
        job.compile()
    except Exception as error:
        return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
    return None
