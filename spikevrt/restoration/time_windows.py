"""Cuts a stream of frames into temporal windows, and blends what they give for frames that they share."""

from collections.abc import Iterator
from itertools import islice
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from spikevrt.restoration.padding import mirror_index

Item = TypeVar("Item")


class TimeWindow(NamedTuple, Generic[Item]):
    """Frames that are restored together."""

    start: int
    """Number of the first one in the stream."""
    frames: list[Item]
    """As many as the model takes; a shorter stream goes back and forth."""
    final: int
    """Frames below this number are in no later window; the length of the stream behind the last one."""


def time_windows(
    frames: Iterator[Item], length: int, overlap: int, count: int | None = None
) -> Iterator[TimeWindow[Item]]:
    """The temporal windows of a stream, which is read no further than needed.

    They begin every `length - overlap` frames; the last one ends with the stream, and so shares more with its
    neighbour. Where a stream is cut does not matter to its windows.

    Args:
        frames: the stream; an empty one has no windows.
        length: frames of a window.
        overlap: frames that neighbours share, below `length`.
        count: frames of the stream, if it is known; otherwise the frames of the next window are read before a window
            is given, to know whether it is the last.
    """
    held, start, stride = list(islice(frames, length)), 0, length - overlap
    if 0 < len(held) < length:
        yield TimeWindow(0, [held[i] for i in mirror_index(len(held), length)], len(held))
        return
    while held:
        new = [] if count is not None else list(islice(frames, stride))
        step = len(new) if count is None else min(stride, count - start - length)
        yield TimeWindow(start, held, start + (step or length))
        new = new or list(islice(frames, step))
        held = (held + new)[-length:] if step else []
        start += step


class Blend:
    """Adds up what windows give for the same frames; the middle of a window counts more than its ends.

    Args:
        length: frames of a window.
    """

    def __init__(self, length: int) -> None:
        place = torch.arange(length)
        self.weights = torch.minimum(place + 1, length - place).tolist()
        self.sums: dict[int, tuple[Tensor, int]] = {}

    def add(self, start: int, restored: Tensor) -> None:
        """Add the frames (T,...) of a window that begins with number `start`."""
        for i, (frame, weight) in enumerate(zip(restored, self.weights, strict=True), start):
            before, total = self.sums.get(i, (0, 0))
            self.sums[i] = before + weight * frame, total + weight

    def take(self, number: int) -> Tensor | None:
        """The mean of a frame, which is then forgotten; None if no window had it."""
        if number not in self.sums:
            return None
        total, weight = self.sums.pop(number)
        return total / weight
