"""Sums of weights' gradients: a row for each program, added afterwards in a fixed order, so the bits never change."""

from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

PROGRAMS = 256
"""Number of programs that walk over the tiles, each with a row of sums; it fixes the order of every sum."""


class Sums(NamedTuple):
    """Partial sums of one kernel: one row per program, which holds gradients of these shapes one after the other."""

    rows: Tensor
    shapes: tuple[tuple[int, ...], ...]

    def gradients(self) -> list[Tensor]:
        """The gradients: sums over the programs, always in the same order; views of one tensor."""
        parts = self.rows.sum(0).split([prod(shape) for shape in self.shapes])
        return [part.view(shape) for part, shape in zip(parts, self.shapes, strict=True)]


def new_sums(like: Tensor, acc: torch.dtype, programs: int, *shapes: tuple[int, ...]) -> Sums:
    """Memory for the sums of `programs` programs, on the device of `like` in the type `acc`."""
    return Sums(like.new_empty((programs, sum(map(prod, shapes))), dtype=acc), shapes)


def programs_over(tiles: int) -> int:
    """Number of programs that divide a number of tiles."""
    return min(PROGRAMS, tiles)
