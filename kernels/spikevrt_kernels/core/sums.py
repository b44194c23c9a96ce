"""Sums of weights' gradients: a row for each program, added afterwards in a fixed order, so the bits never change."""

import os
from functools import cache
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from spikevrt_kernels.core.launch import pieces
from spikevrt_kernels.core.tile_config import padded

PROGRAMS = 256
"""Number of programs that walk over the tiles, each with a row of sums; it fixes the order of every sum."""
FLOAT_ATOMICS = "SPIKEVRT_FLOAT_ATOMICS"
"""Variable of the user: 1 adds scattered gradients in floating point."""


def float_atomics() -> bool:
    """Whether scattered gradients are added in floating point, in any order: on request, where PyTorch allows it."""
    return os.environ.get(FLOAT_ATOMICS) == "1" and not torch.are_deterministic_algorithms_enabled()


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


def programs_over(tiles: int, parts: int = 1) -> int:
    """Number of programs that divide a number of tiles.

    Where `parts` others do the same for other channels, all together are about PROGRAMS, and have so many rows of sums.
    """
    return min(max(1, PROGRAMS // parts), tiles)


def gradients_of_norm(
    dw: Tensor, db: Tensor, weight: Tensor, norm: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of W (N,C) and of gamma and beta (C,) of LN(x) W^T + b.

    Args:
        dw: (N,C) sums of g xhat^T over rows, where g is the gradient of the result.
        db: (N,) sums of g, the gradient of b.
        weight: W.
        norm: gamma and beta.
    """
    w, gamma, beta = (p.to(dw.dtype) for p in (weight, *norm))
    # No product of matrices: autocast would round it.
    return dw * gamma + db[:, None] * beta, (w * dw).sum(0), (w * db[:, None]).sum(0)


class Division(NamedTuple):
    """How the sums (N,K) of a linear layer's weight are divided among programs."""

    sn: int
    """Rows of a tile of sums."""
    sk: int
    """Columns of a tile."""
    nn: int
    """Tiles of a program along N."""
    nk: int
    """Tiles of a program along K."""
    n_parts: int
    """Programs along N; each of them reads the layer's input."""
    k_parts: int
    """Programs along K; each of them reads the gradient of the layer's output."""

    def moved(self, inputs: int, gradients: int) -> int:
        """What is read of so many bytes of inputs and of gradients of outputs."""
        return self.n_parts * inputs + self.k_parts * gradients


SUM_TILES = ((64, 128, 5), (32, 64, 18))
"""Tiles (rows, columns) of sums, and how many of them the registers of 8 warps hold. Tall tiles take fewer
instructions; flat ones are less empty where K is a little more than 128."""


@cache
def divided(N: int, K: int) -> Division:
    """The division of sums (N,K) for which programs read least; among equals that of fewer and of larger tiles."""
    found = []
    for rows, columns, most in SUM_TILES:
        sn, sk = min(rows, padded(N)), min(columns, padded(K))
        along_n, along_k = pieces(N, sn), pieces(K, sk)
        for n_parts in range(pieces(along_n, most), along_n + 1):
            nn = pieces(along_n, n_parts)
            k_parts = pieces(along_k, most // nn)
            division = Division(sn, sk, nn, pieces(along_k, k_parts), pieces(along_n, nn), k_parts)
            found.append((division.moved(K, N), division.n_parts * k_parts, division))
    return min(found, key=lambda one: one[:2])[2]
