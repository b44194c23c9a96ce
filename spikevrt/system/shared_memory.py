"""Memory that processes share: how much the system has of it, and a piece that lies outside its small /dev/shm."""

import fcntl
import mmap
import multiprocessing.reduction
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

FOLDER = "/dev/shm"
"""Where Linux keeps the memory in which PyTorch's workers hand batches over; docker gives 64 MB."""
PAGE = mmap.PAGESIZE


def free_shared_memory() -> float:
    """Bytes that are free in `FOLDER` for this process, of which others of the same training get as many.

    Infinite on systems that keep such memory elsewhere.
    """
    try:
        free = shutil.disk_usage(FOLDER).free
    except OSError:
        return 0.0 if sys.platform == "linux" else float("inf")
    return free / processes_here()


def processes_here() -> int:
    """How many processes of one training share this machine, as what started them says; 1 where nothing did."""
    return max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def in_pages(size: int) -> int:
    """A number of bytes, rounded up to whole pages, as they are taken from the system."""
    return -(-size // PAGE) * PAGE


class SharedBytes:
    """Zeros that this process shares with those that it starts, by any start method; at most memory limits them.

    Pages are taken from the system when they are first written. On Linux they do not count against `FOLDER`.

    Args:
        size: number of bytes, at least 1.
    """

    def __init__(self, size: int) -> None:
        if hasattr(os, "memfd_create"):
            self._attach(os.memfd_create("spikevrt"), size)
        else:
            with tempfile.TemporaryFile() as file:
                self._attach(os.dup(file.fileno()), size)

    def _attach(self, handle: int, size: int | None = None) -> None:
        self.handle = handle
        """File descriptor of the memory, which may be locked as files are."""
        if size is not None:
            os.ftruncate(handle, size)
        self.bytes: NDArray[np.uint8] = np.frombuffer(mmap.mmap(handle, os.fstat(handle).st_size), np.uint8)
        """All of it, as uint8."""

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Meanwhile no other process is in here; the lock of one that dies is free again."""
        fcntl.lockf(self.handle, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self.handle, fcntl.LOCK_UN)

    def __getstate__(self) -> Any:
        return multiprocessing.reduction.DupFd(self.handle)

    def __setstate__(self, state: Any) -> None:
        self._attach(state.detach())

    def __del__(self) -> None:
        os.close(self.handle)
