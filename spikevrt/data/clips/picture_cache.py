"""An optional cache of decoded pictures in memory that all workers share, with one budget per machine.

Spikes need no such cache: the system keeps their packed bytes in its page cache, and voxels are computed faster than
they could be copied.
"""

import multiprocessing
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

ABSENT, BUSY = -1, -2


class RamCache:
    """Keeps uint8 pictures in shared memory; pictures that do not fit are decoded again each time.

    Args:
        files: all pictures that may be requested.
        sizes: (H,W) of each picture.
        budget: bytes for this process and its workers together.
    """

    def __init__(self, files: Sequence[Path], sizes: Sequence[tuple[int, int]], budget: int) -> None:
        self._number = {path: i for i, path in enumerate(files)}
        self._sizes = list(sizes)
        wanted = sum(3 * h * w for h, w in sizes)
        # The system provides pages of shared memory only when they are first written.
        self._memory = torch.empty(max(1, min(budget, wanted)), dtype=torch.uint8).share_memory_()
        self._places = torch.full((max(1, len(files)),), ABSENT, dtype=torch.int64).share_memory_()
        self._used = torch.zeros(1, dtype=torch.int64).share_memory_()
        self._lock = multiprocessing.get_context("spawn").Lock()

    @property
    def used(self) -> int:
        """Bytes used so far by all processes."""
        return int(self._used)

    def get(self, path: Path, decode: Callable[[Path], NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """The picture (H,W,3) of a file; an array from the cache is read-only."""
        number = self._number.get(path)
        if number is None:
            return decode(path)
        h, w = self._sizes[number]
        place = int(self._places[number])
        if place >= 0:
            kept = self._memory[place : place + 3 * h * w].numpy().reshape(h, w, 3)
            kept.flags.writeable = False
            return kept
        image = decode(path)
        if place == ABSENT and image.shape == (h, w, 3):
            self._keep(number, image)
        return image

    def _keep(self, number: int, image: NDArray[np.uint8]) -> None:
        with self._lock:
            start = self.used
            if int(self._places[number]) != ABSENT or start + image.size > len(self._memory):
                return
            self._places[number] = BUSY
            self._used += image.size
        self._memory[start : start + image.size].numpy()[:] = image.reshape(-1)
        with self._lock:
            self._places[number] = start


def machine_share(gigabytes: float) -> int:
    """This process's bytes: the machine's budget divided by its training processes (torchrun's LOCAL_WORLD_SIZE)."""
    return int(gigabytes * 1e9) // max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
