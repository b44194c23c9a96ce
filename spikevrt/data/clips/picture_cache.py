"""An optional cache of decoded pictures in memory that all workers share, with one budget per machine.

Spikes need no such cache: the system keeps their packed bytes in its page cache, and voxels are computed faster than
they could be copied.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spikevrt.system.shared_memory import SharedBytes, processes_here

ABSENT, BUSY = 0, -1


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
        self._memory = SharedBytes(max(1, min(budget, wanted)))
        self._notes = SharedBytes(8 * (1 + len(files)))
        """int64: the bytes used, then for each picture its place in the memory + 1, `ABSENT` or `BUSY`."""

    @property
    def used(self) -> int:
        """Bytes used so far by all processes."""
        return int(self._numbers[0])

    @property
    def _numbers(self) -> NDArray[np.int64]:
        return self._notes.bytes.view(np.int64)

    def get(self, path: Path, decode: Callable[[Path], NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """The picture (H,W,3) of a file; an array from the cache is read-only."""
        number = self._number.get(path)
        if number is None:
            return decode(path)
        h, w = self._sizes[number]
        place = int(self._numbers[1 + number])
        if place > 0:
            kept = self._memory.bytes[place - 1 : place - 1 + 3 * h * w].reshape(h, w, 3)
            kept.flags.writeable = False
            return kept
        image = decode(path)
        if place == ABSENT and image.shape == (h, w, 3):
            self._keep(number, image)
        return image

    def _keep(self, number: int, image: NDArray[np.uint8]) -> None:
        numbers = self._numbers
        with self._notes.locked():
            start = self.used
            if numbers[1 + number] != ABSENT or start + image.size > len(self._memory.bytes):
                return
            numbers[1 + number] = BUSY
            numbers[0] += image.size
        self._memory.bytes[start : start + image.size] = image.reshape(-1)
        numbers[1 + number] = start + 1


def machine_share(gigabytes: float) -> int:
    """This process's bytes: the machine's budget divided by its training processes."""
    return int(gigabytes * 1e9) // processes_here()
