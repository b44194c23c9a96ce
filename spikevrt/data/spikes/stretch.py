"""Successive spike frames of a recording, held as bits: what pictures are made from.

n spike frames of h x w pixels.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikevrt.data.spikes.recording import SpikeFile

BLOCK = 64
"""Spike frames that are read at a time, with one byte per pixel."""


@dataclass(frozen=True)
class Stretch:
    """n successive spike frames, upright, with one bit per pixel."""

    packed: NDArray[np.uint8]
    """(n,ceil(h*w/8)) bytes, least significant bit first; a frame that ends inside a byte is followed by zeros."""
    size: tuple[int, int]
    """(h,w)"""
    first: int = 0
    """The number of the first one in the recording."""

    @classmethod
    def of(cls, spikes: NDArray[np.uint8]) -> "Stretch":
        """Pack (n,h,w) of 0 and 1."""
        frames, height, width = spikes.shape
        return cls(np.packbits(spikes.reshape(frames, -1), axis=1, bitorder="little"), (height, width))

    def __len__(self) -> int:
        return len(self.packed)

    def image(self, pixels: NDArray) -> NDArray:
        """(h,w) from one value per bit (8*ceil(h*w/8),)."""
        height, width = self.size
        return pixels[: height * width].reshape(height, width)


def stretches(file: SpikeFile, spans: Iterable[slice]) -> Iterator[Stretch]:
    """The spike frames of each of `spans`, which begin and end one behind the other; they may overlap and leave gaps.

    Every spike frame is read at most once. In memory are those of one span and of one block, whatever the recording's
    length.
    """
    geometry = file.geometry
    size = (geometry.height, geometry.width)
    held, first = np.empty((0, -(-size[0] * size[1] // 8)), np.uint8), 0
    with file.reader() as read:
        for span in spans:
            held = held[max(span.start - first, 0) :]
            first = span.start
            following = range(first + len(held), span.stop, BLOCK)
            blocks = [Stretch.of(read(slice(t, min(t + BLOCK, span.stop)))).packed for t in following]
            held = np.concatenate([held, *blocks])
            yield Stretch(held, size, first)
