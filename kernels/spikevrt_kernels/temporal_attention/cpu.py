"""Attention along time on the CPU, for the `sdpa` backend.

Each pixel has only T*T scores and tiny matrices, so `scaled_dot_product_attention` and matmul spend most of their time
between products of 5x24 values. Here every operation runs over the pixels of a tile, which are contiguous in memory
and fit the cache. The backward pass keeps the probabilities and uses the same two operations.
"""

from math import ceil
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from spikevrt_kernels.core.precision import at_least_fp32

TILE_PIXELS = 1024
"""With fewer pixels, calls cost more than arithmetic; with many more, a tile does not fit the cache."""


def outer(a: Tensor, b: Tensor) -> Tensor:
    """Sum a b over D at every pixel: (B,heads,D,N,P), (B,heads,D,M,P) -> (B,heads,N,M,P)."""
    sums = a[:, :, 0, :, None] * b[:, :, 0, None]
    for d in range(1, a.shape[2]):
        sums.addcmul_(a[:, :, d, :, None], b[:, :, d, None])
    return sums


def mix(p: Tensor, v: Tensor) -> Tensor:
    """Sum p v over M at every pixel: (B,heads,N,M,P), (B,heads,D,M,P) -> (B,heads,D,N,P)."""
    sums = p[:, :, None, :, 0] * v[:, :, :, :1]
    for m in range(1, v.shape[3]):
        sums.addcmul_(p[:, :, None, :, m], v[:, :, :, m : m + 1])
    return sums


class PixelAttention(torch.autograd.Function):
    """softmax(q k^T / sqrt(D)) v; q (B,heads,D,Tq,P), k and v (B,heads,D,Tk,P), keep (B,heads,Tq,Tk,P) or None."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, keep: Tensor | None) -> Tensor:
        ctx.scale = q.shape[2] ** -0.5
        p = outer(q * ctx.scale, k).softmax(3)
        ctx.save_for_backward(q, k, v, p, keep)
        return mix(p if keep is None else p * keep, v)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, p, keep = ctx.saved_tensors
        grad = pixels_side_by_side(grad)
        ds = dropped = p
        dp = outer(grad, v)
        if keep is not None:
            dropped, dp = p * keep, dp.mul_(keep)
        ds = p * dp
        ds.addcmul_(p, ds.sum(3, keepdim=True), value=-1).mul_(ctx.scale)
        return mix(ds, k), mix(ds.transpose(2, 3), q), mix(dropped.transpose(2, 3), grad), None


def pixels_side_by_side(x: Tensor) -> Tensor:
    """`x` if its last axis is contiguous, else such a copy."""
    return x if x.stride(-1) == 1 else x.contiguous()


def attend_pixels(q: Tensor, k: Tensor, v: Tensor, dropout_p: float) -> Tensor:
    """Attention of one tile of pixels, in at least float32.

    Args:
        q: (B,heads,D,Tq,P).
        k: (B,heads,D,Tk,P).
        v: (B,heads,D,Tk,P).
        dropout_p: dropout of the probabilities.

    Returns:
        (B,heads,D,Tq,P), the type of q.
    """
    keep = None
    if dropout_p > 0:
        B, heads, _, Tq, P = q.shape
        keep = F.dropout(at_least_fp32(q).new_ones((B, heads, Tq, k.shape[3], P)), dropout_p)
    tiles = (pixels_side_by_side(at_least_fp32(x)) for x in (q, k, v))
    return PixelAttention.apply(*tiles, keep).to(q.dtype)


def temporal_attention_cpu(q: Tensor, k: Tensor, v: Tensor, heads: int, dropout_p: float = 0.0) -> Tensor:
    """softmax(q k^T / sqrt(D)) v along T, tile by tile; shapes as in `temporal_attention`."""
    H, W = q.shape[-2:]
    rows = min(H, ceil(TILE_PIXELS / W))

    def tiles(x: Tensor) -> list[Tensor]:
        """(B,heads,D,T,pixels) of some rows each."""
        return [part.flatten(-2).unflatten(1, (heads, -1)) for part in x.split(rows, -2)]

    parts = zip(tiles(q), tiles(k), tiles(v), strict=True)
    out = [attend_pixels(*part, dropout_p).flatten(1, 2).unflatten(-1, (-1, W)) for part in parts]
    return out[0] if len(out) == 1 else torch.cat(out, -2)
