"""Grids, tiles and strides of the kernels of attention along time."""

from typing import Any

import torch
import triton.language as tl
from torch import Tensor

from spikevrt_kernels.core.launch import Launch, flat_pixels, pieces, strides
from spikevrt_kernels.temporal_attention.triton.kernels import (
    temporal_attention_bwd_kernel,
    temporal_attention_fwd_kernel,
)

WARPS = 4
TWO_PIXELS_SCORES = {"forward": 36, "backward": 25}
"""Largest number of scores for which a thread computes two pixels; with more it computes one, to save registers."""


MAX_REGISTERS = {"forward": 128, "backward": 255}
"""Without a limit the assembler aims at 80 registers on sm_120 and spills two of 82."""


def options(direction: str) -> dict[str, Any]:
    """Triton's compiler options, the same on every architecture."""
    return {"num_warps": WARPS, "num_stages": 1, "enable_fp_fusion": True, "maxnreg": MAX_REGISTERS[direction]}


def pixels_of_program(direction: str, TQ: int, TK: int) -> int:
    """Pixels per program: its number of threads, or twice that."""
    scores = TQ * TK
    return 32 * WARPS * (2 if scores <= TWO_PIXELS_SCORES[direction] else 1)


def constants(q: Tensor, k: Tensor, heads: int, dropout_p: float, direction: str) -> dict[str, Any]:
    """The arguments that forward and backward share."""
    _, C, TQ, H, W = q.shape
    return {
        "HW": H * W,
        "D": C // heads,
        "scale": (C // heads) ** -0.5,
        "dropout_p": dropout_p,
        "TQ": TQ,
        "TK": k.shape[2],
        "PIXELS": pixels_of_program(direction, TQ, k.shape[2]),
        "DROPOUT": dropout_p > 0,
        "ACC": tl.float64 if q.dtype == torch.float64 else tl.float32,
    }


def forward_launch(
    q: Tensor, k: Tensor, v: Tensor, heads: int, dropout_p: float, seed: Tensor | None
) -> tuple[Launch, Tensor]:
    """The launch, and its contiguous output (B,C,Tq,H,W)."""
    q, k, v = (flat_pixels(x) for x in (q, k, v))
    out = q.new_empty(q.shape)
    shared = constants(q, k, heads, dropout_p, "forward")
    arguments = {"q_ptr": q, "k_ptr": k, "v_ptr": v, "o_ptr": out, "seed_ptr": seed, **shared}
    for letter, x in (("q", q), ("k", k), ("v", v), ("o", out)):
        arguments |= strides(letter, x.stride())
    grid = (pieces(shared["HW"], shared["PIXELS"]), heads, q.shape[0])
    return Launch(temporal_attention_fwd_kernel, grid, arguments, options("forward")), out


def backward_launch(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, heads: int, dropout_p: float, seed: Tensor | None
) -> tuple[Launch, tuple[Tensor, Tensor, Tensor]]:
    """The launch, and its contiguous outputs dq, dk, dv."""
    grad, q, k, v = (flat_pixels(x) for x in (grad, q, k, v))
    dq, dk, dv = (x.new_empty(x.shape) for x in (q, k, v))
    shared = constants(q, k, heads, dropout_p, "backward")
    arguments = {"q_ptr": q, "k_ptr": k, "v_ptr": v, "do_ptr": grad, "seed_ptr": seed, **shared}
    arguments |= {"dq_ptr": dq, "dk_ptr": dk, "dv_ptr": dv}
    for letter, x in (("q", q), ("k", k), ("v", v), ("d", grad)):
        arguments |= strides(letter, x.stride())
    grid = (pieces(shared["HW"], shared["PIXELS"]), heads, q.shape[0])
    return Launch(temporal_attention_bwd_kernel, grid, arguments, options("backward")), (dq, dk, dv)
