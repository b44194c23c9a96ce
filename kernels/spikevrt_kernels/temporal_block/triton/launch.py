"""Grids, strides and constants for the launches of the block's kernels."""

from functools import lru_cache
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from spikevrt_kernels.core.launch import Launch, architecture, pieces, strides
from spikevrt_kernels.core.residual_blocks import EPS
from spikevrt_kernels.core.triton_math import TRITON_TYPES
from spikevrt_kernels.temporal_block.reference import BlockWeights
from spikevrt_kernels.temporal_block.triton.attention_forward import temporal_block_attend_kernel
from spikevrt_kernels.temporal_block.triton.forward import temporal_block_kernel
from spikevrt_kernels.temporal_block.triton.mlp_forward import temporal_block_mlp_kernel
from spikevrt_kernels.temporal_block.triton.prepared import Folded, fold
from spikevrt_kernels.temporal_block.triton.tile_table import Config, choose, one_kernel

ATTENDING = ("attend", "block", "bwd_attend")
"""Kernels that hold all frames of their pixels."""
KEPT = 512
"""Number of geometries whose arguments are kept; a model has about ten per clip size."""
MLP_WEIGHTS = ("wo_ptr", "bo_ptr", "gamma_ptr", "beta_ptr", "w1_ptr", "b1_ptr", "w2_ptr", "b2_ptr")


class Call(NamedTuple):
    """One call of the block as its kernels take it; the pixels of a frame are contiguous."""

    x: Tensor
    """(B,C,T,H,W)."""
    context: Tensor | None
    """(B,C,Tk,H,W), or None for self-attention."""
    weights: BlockWeights
    """Parameters; projections in the type `dot`, the others in any type."""
    heads: int
    dropout_p: float
    seed: Tensor | None
    """(1,) int64, or None without dropout."""
    max_pixels: int
    """Largest number of pixels per program (MAX_BATCH_TOKENS / T)."""
    dot: torch.dtype
    """Type of the inputs of matrix products."""
    target: int | None = None
    """Architecture whose tile sizes are used (90 for sm_90); None = that of the device."""
    folded: Folded | None = None
    """The projection with the norms folded in, if that was done already."""

    @property
    def keys(self) -> Tensor:
        """The tensor from which keys and values are computed."""
        return self.x if self.context is None else self.context

    @property
    def acc(self) -> torch.dtype:
        """Type of sums, statistics and softmax."""
        return torch.promote_types(self.dot, torch.float32)

    def config(self, kernel: str) -> Config:
        """Tile size and warps of one kernel; for `target`, they come from the tile table."""
        return choose(kernel, self.max_pixels, self.variant(kernel), None if self.target else self.x.device)

    def variant(self, kernel: str) -> tuple[str | int, ...]:
        """What distinguishes binaries of a kernel, as far as it affects registers."""
        common = (str(self.dot), self.x.shape[1], self.weights.mlp_in[0].shape[0])
        if kernel not in ATTENDING:
            return common
        return (*common, self.heads, self.x.shape[2], 0 if self.context is None else self.context.shape[2])

    @property
    def geometry(self) -> "Geometry":
        """The call without its tensors."""
        x, keys, R = self.x, self.keys, self.weights.mlp_in[0].shape[0]
        sizes = x.shape, x.stride(), keys.stride(), keys.shape[2], R
        return Geometry(*sizes, self.heads, self.dropout_p, self.context is not None, self.dot)

    @property
    def architecture(self) -> int:
        """The architecture as a number: 90 for sm_90."""
        return self.target or architecture(self.x.device)


class Geometry(NamedTuple):
    """A call without the values of its tensors: everything that grids and constants depend on."""

    shape: torch.Size
    """(B,C,T,H,W) of x."""
    x_strides: tuple[int, ...]
    key_strides: tuple[int, ...]
    key_frames: int
    hidden: int
    """Width R of the MLP."""
    heads: int
    dropout_p: float
    cross: bool
    dot: torch.dtype


def chunk_constants(C: int, dot: torch.dtype) -> dict[str, Any]:
    """The constants that all kernels take: chunks of channels, and types."""
    acc = torch.promote_types(dot, torch.float32)
    return {"CK": 32 if C > 16 else 16, "DOT": TRITON_TYPES[dot], "ACC": TRITON_TYPES[acc]}


def attention_arguments(call: Call) -> dict[str, Any]:
    """The arguments that the attention's forward and backward share."""
    w, sums, b = call.folded or fold(call.weights, call.dot)
    pointers = {"x_ptr": call.x, "context_ptr": call.keys, "w_ptr": w, "sum_ptr": sums, "b_ptr": b}
    return pointers | {"seed_ptr": call.seed} | attention_numbers(call.geometry)


@lru_cache(maxsize=KEPT)
def attention_numbers(geometry: Geometry) -> dict[str, Any]:
    """Those arguments without the pointers; they are cached, so callers must copy them."""
    _, C, T, H, W = geometry.shape
    D = C // geometry.heads
    return {
        **strides("x", geometry.x_strides),
        **strides("k", geometry.key_strides),
        "HW": H * W,
        "C": C,
        "D": D,
        "heads": geometry.heads,
        "scale": D**-0.5,
        "eps": EPS,
        "dropout_p": float(geometry.dropout_p),
        "TQ": T,
        "TK": geometry.key_frames,
        "SELF": not geometry.cross,
        "DP": max(16, triton.next_power_of_2(D)),
        "DROPOUT": geometry.dropout_p > 0,
        **chunk_constants(C, geometry.dot),
    }


def new_stats(call: Call, x: Tensor) -> Tensor:
    """Memory for the layer norm statistics of every frame and pixel of x: (2,B,T,H,W)."""
    B, _, T, H, W = x.shape
    return x.new_empty((2, B, T, H, W), dtype=call.acc)


def attend_launch(call: Call) -> tuple[Launch, Tensor, Tensor, Tensor]:
    """The first forward kernel; also o (B,C,T,H,W) in the type `dot`, and statistics of queries and keys."""
    stats_q = new_stats(call, call.x)
    stats_kv = stats_q if call.context is None else new_stats(call, call.context)
    o = call.x.new_empty(call.x.shape, dtype=call.dot)
    config = call.config("attend")
    arguments = attention_arguments(call) | {"o_ptr": o, "P": config.pixels}
    arguments |= {"stats_q_ptr": stats_q, "stats_kv_ptr": stats_kv}
    grid = (pieces(arguments["HW"], config.pixels), call.x.shape[0])
    return Launch(temporal_block_attend_kernel, grid, arguments, config.options()), o, stats_q, stats_kv


def mlp_constants(R: int, dot: torch.dtype) -> dict[str, Any]:
    """The constants of the MLP kernels: slices of hidden channels, and types."""
    constants = chunk_constants(R, dot)
    return {"RK": constants.pop("CK")} | constants


def mlp_arguments(call: Call, o: Tensor) -> dict[str, Any]:
    """The arguments that the MLP's forward and backward share."""
    w = call.weights
    vectors = (*w.out_proj, *w.norm_mlp, *w.mlp_in, *w.mlp_out)
    return {"x_ptr": call.x, "o_ptr": o, **dict(zip(MLP_WEIGHTS, vectors, strict=True)), **mlp_numbers(call.geometry)}


@lru_cache(maxsize=KEPT)
def mlp_numbers(geometry: Geometry) -> dict[str, Any]:
    """Those arguments without the pointers; they are cached, so callers must copy them."""
    _, C, _, H, W = geometry.shape
    constants = chunk_constants(C, geometry.dot)
    return {
        **strides("x", geometry.x_strides),
        "HW": H * W,
        "C": C,
        "R": geometry.hidden,
        "eps": EPS,
        "NC": pieces(C, constants["CK"]),
        **constants,
        **mlp_constants(geometry.hidden, geometry.dot),
    }


def mlp_launch(call: Call, o: Tensor) -> tuple[Launch, Tensor]:
    """The second forward kernel, and its output (B,C,T,H,W)."""
    out = call.x.new_empty(call.x.shape)
    config = call.config("mlp")
    arguments = mlp_arguments(call, o) | {"out_ptr": out, "P": config.pixels}
    grid = (pieces(arguments["HW"], config.pixels), call.x.shape[2], call.x.shape[0])
    return Launch(temporal_block_mlp_kernel, grid, arguments, config.options()), out


class Forward(NamedTuple):
    """The forward pass: its launches by name, and their outputs."""

    launches: dict[str, Launch]
    out: Tensor
    """Result (B,C,T,H,W)."""
    o: Tensor
    """(B,C,T,H,W) in the type `dot`, kept for the backward pass; empty if it is not needed."""
    stats_q: Tensor
    """(2,B,T,H,W) layer norm statistics of x."""
    stats_kv: Tensor
    """(2,B,Tk,H,W) layer norm statistics of the context; in self-attention the same as `stats_q`."""


def block_launch(call: Call, keep: bool) -> Forward:
    """The forward pass in one kernel; without `keep`, o is stored in `out` temporarily."""
    stats_q = new_stats(call, call.x)
    stats_kv = stats_q if call.context is None else new_stats(call, call.context)
    out = call.x.new_empty(call.x.shape)
    o = call.x.new_empty(call.x.shape if keep else 0, dtype=call.dot)
    config = call.config("block")
    arguments = attention_arguments(call) | mlp_arguments(call, o if keep else out)
    arguments |= {"out_ptr": out, "SHARED": not keep, "P": config.pixels}
    arguments |= {"stats_q_ptr": stats_q, "stats_kv_ptr": stats_kv}
    grid = (pieces(arguments["HW"], config.pixels), call.x.shape[0])
    launch = Launch(temporal_block_kernel, grid, arguments, config.options())
    return Forward({"block" if keep else "block_inference": launch}, out, o, stats_q, stats_kv)


def forward_launches(call: Call, keep: bool) -> Forward:
    """The forward pass in one or two kernels, as the tile table says; `keep` = a backward pass will need o."""
    if one_kernel(call.architecture, max(call.x.shape[2], call.keys.shape[2])):
        return block_launch(call, keep)
    attend, o, stats_q, stats_kv = attend_launch(call)
    mlp, out = mlp_launch(call, o)
    return Forward({"attend": attend, "mlp": mlp}, out, o if keep else o.new_empty(0), stats_q, stats_kv)
