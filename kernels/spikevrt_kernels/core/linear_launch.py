"""What launches of linear layers share: the sizes of their products, and the sums of their weights' gradients."""

from typing import Any

import torch
from torch import Tensor

from spikevrt_kernels.core.launch import Launch, pieces
from spikevrt_kernels.core.precision import accumulation_dtype
from spikevrt_kernels.core.sums import SUM_TILES, Sums, divided, new_sums, programs_over
from spikevrt_kernels.core.tile_config import Config, padded
from spikevrt_kernels.core.triton_math import TRITON_TYPES
from spikevrt_kernels.core.triton_weight_sums import weight_sums_kernel

KEPT_WIDTH = 192
"""Widest row of which a linear layer's kernels keep a tile in registers; wider ones are read again from the cache."""
OUTPUTS = 64
"""Outputs that they compute at a time."""
LEAST_TILES = 4
"""Tiles that a program adds up at least: a row of sums is as large as some tiles of features."""


def product_sizes(C: int, N: int, dot: torch.dtype) -> dict[str, Any]:
    """The sizes that kernels take which multiply rows of C by a weight (N,C), in the type `dot`.

    Both widths are constants, so that the compiler sees by how much they can be divided: with 120 channels, rows begin
    at multiples of 16 bytes, and are loaded by so many. The ends of loops are numbers.
    """
    CK = min(32, padded(C))
    return {
        "C": C,
        "N": N,
        "c_end": C,
        "n_end": N,
        "KEPT": C <= KEPT_WIDTH,
        "NC": pieces(C, CK),
        "CK": CK,
        "NK": min(OUTPUTS, padded(N)),
        "DOT": TRITON_TYPES[dot],
        "ACC": TRITON_TYPES[accumulation_dtype(dot)],
    }


def weights_row(N: int, K: int) -> str:
    """Name of the row of a tile table for the sums (N,K): flat tiles of sums leave registers for fewer rows."""
    return "bwd_weights" if divided(N, K).sn == SUM_TILES[0][0] else "bwd_weights_flat"


def weight_sums_launch(
    a: Tensor,
    grad: Tensor,
    config: Config,
    dot: torch.dtype,
    vector: bool,
    stats: Tensor | None = None,
    scale: Tensor | None = None,
) -> tuple[Launch, Sums]:
    """The launch, and the sums of grad^T a (N,K) and, if `vector`, of grad (N,).

    Args:
        a: (...,K) contiguous, inputs of the layer.
        grad: (...,N) contiguous, gradient of its outputs.
        config: rows of a tile, and warps.
        dot: type of the inputs of matrix products.
        vector: whether to sum grad too.
        stats: (2,rows), mean and rstd of the rows of a, of which (a - mean) rstd is taken then; or None.
        scale: (B,), factors of the gradients of each sample; or None.
    """
    K, N = a.shape[-1], grad.shape[-1]
    rows, division, acc = a.numel() // K, divided(N, K), accumulation_dtype(dot)
    parts = division.n_parts * division.k_parts
    programs = programs_over(pieces(rows, LEAST_TILES * config.pixels), parts)
    sums = new_sums(a, acc, programs, (N, K), *([(N,)] if vector else []))
    arguments = {
        "a_ptr": a,
        "grad_ptr": grad,
        "sums_ptr": sums.rows,
        "stats_ptr": stats,
        "scale_ptr": scale,
        "rows": rows,
        "of_sample": rows if scale is None else rows // scale.numel(),
        "K": K,
        "N": N,
        "VECTOR": vector,
        "P": config.pixels,
        "SN": division.sn,
        "SK": division.sk,
        "NN": division.nn,
        "NK": division.nk,
        "DOT": TRITON_TYPES[dot],
        "ACC": TRITON_TYPES[acc],
    }
    return Launch(weight_sums_kernel, (programs, parts), arguments, config.options()), sums
