"""Cuts frames into tiles that overlap, and blends the results: large frames need no more memory than a tile.

Tiles start at whole attention windows of the coarsest stage and at whole spike pixels, so that a tile has the windows
that the whole frame has, and no pixel of it is added.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from spikevrt.config.limits import MULTIPLE, least_side
from spikevrt.restoration.padding import padding_step


class Span(NamedTuple):
    """Part of an axis."""

    start: int
    length: int

    @property
    def end(self) -> int:
        """The first place behind it."""
        return self.start + self.length

    def scaled(self, ratio: Fraction) -> "Span":
        """The same part on a grid of another resolution, on which it has to be whole."""
        start, length = self.start * ratio, self.length * ratio
        if start.denominator != 1 or length.denominator != 1:
            raise ValueError(f"{self} is not whole with {ratio} pixels per pixel")
        return Span(int(start), int(length))

    @property
    def slice(self) -> slice:
        """As an index."""
        return slice(self.start, self.end)


class Tile(NamedTuple):
    """A rectangle of a frame with its share in the result."""

    rows: Span
    columns: Span
    weight: Tensor
    """(rows,columns) in (0,1]; the weights of all tiles at a pixel add up to 1."""

    def cut(self, x: Tensor, ratio: Fraction = Fraction(1)) -> Tensor:
        """This part of x (...,H,W); with `ratio` pixels of x for a pixel of the frame along each axis."""
        return x[..., self.rows.scaled(ratio).slice, self.columns.scaled(ratio).slice]


@dataclass(frozen=True)
class Tiling:
    """How frames of one padded size are cut."""

    rows: tuple[Span, ...]
    columns: tuple[Span, ...]

    @property
    def whole(self) -> bool:
        """Whether there is one tile."""
        return len(self.rows) == len(self.columns) == 1

    @cached_property
    def tiles(self) -> list[Tile]:
        """All tiles, row by row."""
        down, across = shares(self.rows), shares(self.columns)
        return [
            Tile(row, column, a[:, None] * b)
            for row, a in zip(self.rows, down, strict=True)
            for column, b in zip(self.columns, across, strict=True)
        ]

    @property
    def side(self) -> int:
        """The largest height or width of a tile."""
        return max(span.length for span in (*self.rows, *self.columns))

    def __str__(self) -> str:
        """For people, for example `6 tiles (2x3) of at most 256x256 pixels`."""
        (row, *rows), (column, *columns) = self.rows, self.columns
        counts = 1 + len(rows), 1 + len(columns)
        return f"{math.prod(counts)} tiles ({counts[0]}x{counts[1]}) of at most {row.length}x{column.length} pixels"


def tile_step(window: Sequence[int], ratio: Fraction = Fraction(1)) -> int:
    """Tiles start at multiples of this many pixels.

    Args:
        window: (T,h,w) attention window of the model.
        ratio: spike pixels per frame pixel; 1 without spikes.
    """
    return math.lcm(padding_step(ratio), *(MULTIPLE * side for side in window[1:]))


def least_tile(window: Sequence[int], step: int) -> int:
    """The smallest side of a tile, in whole steps: the last one may be shorter by almost a step, and has to do too."""
    return -(-(max(map(least_side, window[1:])) + step - MULTIPLE) // step) * step


def plan_tiles(size: tuple[int, int], side: int | None, overlap: int, step: int) -> Tiling:
    """Cut frames of a padded size.

    Args:
        size: (H,W).
        side: the largest height and width of a tile, at least `least_tile`; None = frames stay whole.
        overlap: pixels that neighbours share at least, as far as tiles leave a step between their starts.
        step: from `tile_step`.
    """
    return Tiling(*(spans(length, side or length, overlap, step) for length in size))


def spans(size: int, side: int, overlap: int, step: int) -> tuple[Span, ...]:
    """The parts of an axis: `side` pixels each; the last one ends with it, and may be shorter by part of a step."""
    if side >= size:
        return (Span(0, size),)
    side = side // step * step
    stride = max(step, (side - overlap) // step * step)
    last = -(-(size - side) // step) * step
    starts = [*range(0, last, stride), last]
    return tuple(Span(start, min(side, size - start)) for start in starts)


def shares(parts: Sequence[Span]) -> list[Tensor]:
    """For each part of an axis its share (length,) in the result, float32; all together are 1 everywhere."""
    rising = [0, *(before.end - part.start for before, part in pairwise(parts))]
    falling = [*rising[1:], 0]
    weights = [ramped(part.length, *both) for part, *both in zip(parts, rising, falling, strict=True)]
    total = torch.zeros(parts[-1].end, dtype=torch.float64)
    for part, weight in zip(parts, weights, strict=True):
        total[part.slice] += weight
    return [(weight / total[part.slice]).float() for part, weight in zip(parts, weights, strict=True)]


def ramped(length: int, rising: int, falling: int) -> Tensor:
    """(length,) float64: 1, but rising from 0 over its first places and falling to 0 over its last ones, smoothly."""
    weight = torch.ones(length, dtype=torch.float64)
    weight[:rising] *= wave(rising)
    weight[length - falling :] *= wave(falling).flip(0)
    return weight


def wave(length: int) -> Tensor:
    """(length,) float64 that rises from 0 to 1 as half a wave of a cosine."""
    place = (torch.arange(length, dtype=torch.float64) + 0.5) / length
    return torch.sin(place * (math.pi / 2)).square()
