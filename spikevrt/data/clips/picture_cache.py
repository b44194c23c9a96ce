"""Decoded pictures in memory that all workers share: optional, within one budget for the machine.

Spikes need none: their packed bytes stay in the system's page cache, and voxels are made faster than they are copied.
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
    """Pictures of uint8 in shared memory; what no longer fits is decoded anew each time.

    Args:
        files: every picture that may be asked for.
        sizes: (H,W) of each.
        budget: bytes, of this process and its workers together.
    """

    def __init__(self, files: Sequence[Path], sizes: Sequence[tuple[int, int]], budget: int) -> None:
        self._number = {path: i for i, path in enumerate(files)}
        self._sizes = list(sizes)
        wanted = sum(3 * h * w for h, w in sizes)
        # Shared memory takes no place before it is written to.
        self._memory = torch.empty(max(1, min(budget, wanted)), dtype=torch.uint8).share_memory_()
        self._places = torch.full((max(1, len(files)),), ABSENT, dtype=torch.int64).share_memory_()
        self._used = torch.zeros(1, dtype=torch.int64).share_memory_()
        self._lock = multiprocessing.get_context("spawn").Lock()

    @property
    def used(self) -> int:
        """Bytes taken so far, by all processes."""
        return int(self._used)

    def get(self, path: Path, decode: Callable[[Path], NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """(H,W,3) of a picture, read-only where it comes from memory."""
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
    """Bytes for this process: the machine's budget over the training processes on it (torchrun's LOCAL_WORLD_SIZE)."""
    return int(gigabytes * 1e9) // max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
