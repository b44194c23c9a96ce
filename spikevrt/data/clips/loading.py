"""Worker processes that load batches: as many as shared memory allows, deaf to Ctrl-C, and missed when they die."""

import multiprocessing
import multiprocessing.connection
import multiprocessing.resource_tracker
import os
import re
import signal
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.queues import Queue
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.data._utils import signal_handling

from spikevrt.data.clips.dataset import Sample, collate
from spikevrt.errors import UserError
from spikevrt.system.failures import memory_line, system_line
from spikevrt.system.process import signals
from spikevrt.system.shared_memory import FOLDER, free_shared_memory, in_pages
from spikevrt.system.subprocesses import signalled_with_parent

HELD = 2
"""Batches in shared memory beside those that workers have in advance: the one in use and the one being copied."""
SPARE = 0.8
"""The share of the free memory that is planned with; other programs take some, too."""
IN_ADVANCE = 2
"""Batches that every worker has in advance where there is room."""
PATIENCE = 20.0
"""Seconds for which a worker waits until others have freed shared memory."""
ENDING = 5.0
"""Seconds for which the exit code of a worker is awaited that has ended or is ending."""
TERMINAL = signals("SIGINT", "SIGHUP")
"""What a terminal sends to all its processes; the training process alone answers, by saving."""
NOT_SENT = 74
"""Exit code of a worker whose batch could not be sent."""
CAUGHT = re.compile(r"^Caught (\w+) in (DataLoader worker|pin memory thread)")
"""How PyTorch begins the text of an error of another process, whose last line is the error itself."""
SYSTEM_ERROR = re.compile(r"\[Errno (\d+)\] (.*?)(?:: '(.*)')?$")
LOST = re.compile(r"DataLoader worker \(pid|Pin memory thread exited|DataLoader timed out")
TOO_MANY_FILES = re.compile(r"Too many open files|ancdata")


def plan_workers(data: Dataset[Sample], batch_size: int, workers: int) -> tuple[int, int]:
    """The number of workers, and of batches that each has in advance, that shared memory allows; warns if it is less.

    Args:
        data: gives a sample to measure.
        batch_size: samples of a batch.
        workers: the number that is wanted (TRAIN.NUM_WORKERS).
    """
    size, free = batch_bytes(data, batch_size), free_shared_memory()
    room = int(SPARE * free / size) - HELD if free < float("inf") else workers * IN_ADVANCE
    if room >= workers * IN_ADVANCE:
        return workers, IN_ADVANCE
    fewer = max(0, min(workers, room))
    warnings.warn(
        f"{FOLDER} has {free / 1e6:,.2f} MB free; TRAIN.NUM_WORKERS {workers} wants "
        f"{(workers * IN_ADVANCE + HELD) * size / SPARE / 1e6:,.2f} MB for batches of {size / 1e6:,.2f} MB: going on "
        f"with {fewer}{', one batch in advance each' if fewer else ''}; for all, give it more (docker run --shm-size) "
        "or lower TRAIN.BATCH_SIZE",
        stacklevel=2,
    )
    return fewer, 1


def batch_bytes(data: Dataset[Sample], batch_size: int) -> int:
    """Bytes of shared memory for a batch, from the first sample; at least a page."""
    try:
        sample = data[0]
    except UserError:
        return in_pages(1)  # Whoever asks for this sample is told.
    return sum(in_pages(batch_size * x.nbytes) for x in sample.values() if isinstance(x, Tensor)) or in_pages(1)


def collate_shared(samples: Sequence[Sample]) -> Sample:
    """Stack samples into shared memory.

    PyTorch would move them there in a thread, whose errors it drops: the training process would wait for ever.
    """
    batch = collate(samples)
    for value in batch.values():
        if isinstance(value, Tensor):
            share(value)
    return batch


def share(x: Tensor) -> None:
    """Move a tensor into shared memory, once there is room for it.

    Raises:
        UserError: there is none after `PATIENCE` seconds.
    """
    end = time.monotonic() + PATIENCE
    while True:
        try:
            x.share_memory_()
            return
        except RuntimeError as error:
            if time.monotonic() > end:
                reason = str(error).rpartition(">")[2].lstrip(": ")
                raise UserError(
                    f"{FOLDER}: no shared memory for {x.nbytes / 1e6:,.2f} MB of a batch ({reason}); set "
                    "TRAIN.NUM_WORKERS=0, lower TRAIN.BATCH_SIZE, or give it more (docker run --shm-size)"
                ) from None
        time.sleep(0.2)


def stand_apart(worker: int) -> None:
    """Runs first in a worker, which then ends with the training process, and only then.

    It hears neither Ctrl-C of a terminal nor what torchrun sends to a group of processes: the current step needs its
    samples. On Linux it ends at once with its parent: as it may have inherited the parent's connections, other
    processes would take that to be alive for seconds. A batch that cannot be sent ends it, too: Python would print a
    traceback and drop the batch, for which training would wait for ever.
    """
    Queue._on_queue_feeder_error = staticmethod(lambda error, batch: os._exit(NOT_SENT))  # type: ignore[attr-defined]
    for number in TERMINAL:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(os, "setpgrp"):
        os.setpgrp()
    prepare = signalled_with_parent(signal.SIGKILL)
    if prepare is not None:
        prepare()


class Loader(DataLoader[Sample]):
    """A loader whose workers do not hear Ctrl-C, even while they start, and whose failures are one line."""

    def __iter__(self) -> "Batches":  # type: ignore[override]
        """Start the workers.

        Raises:
            UserError: the system does not let them start.
        """
        try:
            with starting_workers():
                return Batches(super().__iter__())
        except OSError as error:
            raise UserError(
                f"TRAIN.NUM_WORKERS {self.num_workers}: they cannot be started ({error.strerror}); lower it "
                "(0 = the training process loads the samples itself)"
            ) from None


class Batches:
    """The batches of a `Loader`.

    Args:
        batches: PyTorch's iterator.
    """

    def __init__(self, batches: Iterator[Sample]) -> None:
        self._batches = batches

    def __iter__(self) -> "Batches":
        return self

    def __next__(self) -> Sample:
        """The next batch.

        Raises:
            UserError: a sample cannot be read, or a worker has died (says how, and what helps).
        """
        try:
            return next(self._batches)
        except StopIteration:
            raise
        except Exception as error:
            workers = getattr(self._batches, "_workers", [])
            # A worker that ends while it hands a batch over leaves a connection that breaks off.
            if LOST.search(str(error)) or (workers and isinstance(error, EOFError | ConnectionError)):
                raise UserError(lost_line(exit_codes(workers))) from None
            line = failure_line(error)
            if line is None:
                raise
            raise UserError(line) from None


def exit_codes(workers: Sequence[multiprocessing.Process]) -> list[int | None]:
    """Exit codes of workers of which one is ending: its connection breaks off before the system says how it ended."""
    ended = multiprocessing.connection.wait([worker.sentinel for worker in workers], timeout=ENDING)
    for worker in workers:
        if worker.sentinel in ended:
            worker.join(ENDING)
    return [worker.exitcode for worker in workers]


def lost_line(codes: Sequence[int | None]) -> str:
    """One line about workers that have died, from the exit codes of all (None = runs)."""
    code = next((code for code in codes if code is not None), None)
    causes = {
        signal.SIGKILL: "was killed, as the system does when memory runs out",
        signal.SIGBUS: f"has met a full {FOLDER}",
        signal.SIGSEGV: "has crashed (SIGSEGV)",
    }
    known: dict[int | None, str] = {-number: cause for number, cause in causes.items()}
    known |= {None: "has ended early", NOT_SENT: f"could not send its batch (is {FOLDER} or the folder TMPDIR full?)"}
    return (
        f"a worker that loads samples {known.get(code, f'has ended early (code {code})')}; lower TRAIN.NUM_WORKERS "
        f"(now {len(codes)}; 0 = no workers) or DATA.RAM_CACHE_GB, or free memory"
    )


def failure_line(error: Exception) -> str | None:
    """One line for an error of the data or of the system in this process or in a worker; None for one of ours."""
    text = str(error).strip()
    if TOO_MANY_FILES.search(text):
        return "too many open files; raise their number (ulimit -n), or lower TRAIN.NUM_WORKERS"
    caught = CAUGHT.match(text)
    if caught is None:
        return system_line(error) if isinstance(error, OSError) else memory_line(error)
    last = re.sub(r"^[\w.]+: ", "", text.splitlines()[-1])
    if isinstance(error, UserError):
        return last
    if isinstance(error, OSError):
        known = SYSTEM_ERROR.search(last)
        return system_line(OSError(int(known[1]), known[2]), known[3]) if known else system_line(OSError(last))
    return memory_line(type(error)(last)) if isinstance(error, MemoryError | RuntimeError) else None


@contextmanager
def starting_workers() -> Iterator[None]:
    """Signals of the terminal wait meanwhile; processes that are started now never get them, by any start method.

    Afterwards a worker's death interrupts nothing: PyTorch's own handler would raise its error anywhere, in the middle
    of a step or of a save. It is noticed where its batch is missing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if multiprocessing.get_start_method() != "fork":
        # Started later, it would let the signals through again.
        multiprocessing.resource_tracker.ensure_running()
    before, handler = signal.pthread_sigmask(signal.SIG_BLOCK, TERMINAL), signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        if getattr(handler, "__module__", None) == signal_handling.__name__:
            handler = signal.SIG_DFL  # PyTorch's own, from workers that were started elsewhere in this process.
        with suppress(TypeError):  # A handler that was not set from Python cannot be put back.
            signal.signal(signal.SIGCHLD, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def worker_options(data: Dataset[Sample], batch_size: int, workers: int) -> dict[str, Any]:
    """The arguments of a `Loader` that concern its workers."""
    ahead = 0
    if workers:
        workers, ahead = plan_workers(data, batch_size, workers)
    if not workers:
        return {"num_workers": 0, "collate_fn": collate}
    return {
        "num_workers": workers,
        "collate_fn": collate_shared,
        "prefetch_factor": ahead,
        "persistent_workers": True,
        "worker_init_fn": stand_apart,
    }
