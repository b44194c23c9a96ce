"""Grids and constants for the launches of window attention's kernels."""

from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from spikevrt_kernels.core.launch import Launch, architecture, pieces
from spikevrt_kernels.core.precision import accumulation_dtype
from spikevrt_kernels.core.triton_math import TRITON_TYPES
from spikevrt_kernels.window_attention.call import Call
from spikevrt_kernels.window_attention.triton.backward import (
    window_attention_bwd_kernel,
    window_attention_bwd_mutual_kernel,
)
from spikevrt_kernels.window_attention.triton.forward import window_attention_fwd_kernel
from spikevrt_kernels.window_attention.triton.table_backward import (
    window_attention_bwd_bias_kernel,
    window_attention_bwd_table_kernel,
)
from spikevrt_kernels.window_attention.triton.tile_table import Config, choose
from spikevrt_kernels.window_attention.windows import KEPT, Size3, window_counts

MIN_WIDTH = 16
"""Smallest depth of a matrix product in Triton; narrower heads are padded in registers."""


class Geometry(NamedTuple):
    """A call without the values of its tensors: everything that grids and constants depend on."""

    shape: torch.Size
    """(B,D,H,W,3C or 6C) of qkv."""
    dtype: torch.dtype
    """Type of qkv."""
    channels: int
    """Number of channels C."""
    heads: int
    window: Size3
    shift: Size3
    configured: Size3
    both: bool
    """Whether there is mutual attention in addition to self-attention."""


def geometry_of(call: Call) -> Geometry:
    """The geometry of a call."""
    sizes = call.window, call.shift, call.bias.window
    return Geometry(call.qkv.shape, call.qkv.dtype, call.channels, call.heads, *sizes, call.mutual)


def config_of(call: Call, kernel: str, mutual: bool) -> Config:
    """Tile size and warps of one kernel; for `target`, they come from the tile table."""
    tokens = call.tokens(mutual)
    variant = (str(call.qkv.dtype), call.channels // call.heads, tokens, int(mutual))
    device = call.qkv.device
    return choose(kernel, call.target or architecture(device), tokens, variant, None if call.target else device)


def call_arguments(call: Call, mutual: bool) -> dict[str, Any]:
    """The arguments that all kernels share; pointers are to the branch's first channel."""
    return {
        "qkv_ptr": call.qkv[..., 3 * call.channels :] if mutual else call.qkv,
        "offset_ptr": call.mutual_offset if mutual else call.offset,
        "table_ptr": None if mutual else call.bias.table,
        **numbers(geometry_of(call), mutual),
    }


@lru_cache(maxsize=KEPT)
def numbers(geometry: Geometry, mutual: bool) -> dict[str, Any]:
    """Those arguments without the pointers; they are cached, so callers must copy them."""
    shape, dtype, C, heads, window, shift, configured, both = geometry
    E, size = C // heads, shape[1:4]
    return {
        **dict(zip("DHW", size, strict=True)),
        **dict(zip(("nD", "nH", "nW"), window_counts(size, window), strict=True)),
        **dict(zip(("shift_d", "shift_h", "shift_w"), shift, strict=True)),
        "scale": E**-0.5,
        "HEADS": heads,
        "E": E,
        "EP": max(MIN_WIDTH, triton.next_power_of_2(E)),
        "WIDTH": shape[-1],
        "OUT_WIDTH": 2 * C if both else C,
        **dict(zip(("WD", "WH", "WW"), window, strict=True)),
        **dict(zip(("BD", "BH", "BW"), configured, strict=True)),
        "TOKENS": prod(window[1:] if mutual else window),
        "MUTUAL": mutual,
        "SHIFTED": any(shift[1:] if mutual else shift),
        "DOT": TRITON_TYPES[dtype],
        "ACC": TRITON_TYPES[accumulation_dtype(dtype)],
    }


def tiles(config: Config) -> dict[str, int]:
    """The tile sizes, by the names of the kernels' arguments."""
    return {"OWN": config.own, "PASSING": config.passing}


def branch_of(x: Tensor, call: Call, mutual: bool) -> Tensor:
    """The channels of one branch in an output (B,D,H,W,2C) ordered [mutual|self], or all of (B,D,H,W,C)."""
    return x if mutual or not call.mutual else x[..., call.channels :]


def branches(call: Call) -> tuple[bool, ...]:
    """For each branch, whether it is mutual: self-attention, and mutual attention if there is an offset for it."""
    return (False, True) if call.mutual else (False,)


def new_outputs(call: Call) -> tuple[Tensor, Tensor]:
    """Memory for out (B,D,H,W,C or 2C) and lse (1 or 2,B,heads,D,H,W)."""
    count = len(branches(call))
    out = call.qkv.new_empty((*call.qkv.shape[:-1], count * call.channels))
    return out, call.qkv.new_empty((count, call.qkv.shape[0], call.heads, *call.size), dtype=call.acc)


def forward_launches(call: Call) -> tuple[list[Launch], Tensor, Tensor]:
    """One launch per branch, the output, and the logs of the softmax's sums."""
    out, lse = new_outputs(call)
    launches = []
    for mutual in branches(call):
        config = config_of(call, "forward", mutual)
        arguments = call_arguments(call, mutual) | tiles(config)
        arguments |= {"out_ptr": branch_of(out, call, mutual), "lse_ptr": lse[int(mutual)]}
        grid = (call.windows * call.heads,)
        launches.append(Launch(window_attention_fwd_kernel, grid, arguments, config.options()))
    return launches, out, lse


MUTUAL_SPLITS = 128
"""Programs that divide the windows for one tile of places; the number fixes the order of every sum."""
BIAS_PROGRAMS = 512
"""Programs for all heads and pairs of tiles; those with the same pair divide the windows."""


class Saved(NamedTuple):
    """What the forward pass keeps besides its inputs, and the gradient of its result."""

    out: Tensor
    """(B,D,H,W,C or 2C) result of the forward pass."""
    lse: Tensor
    """(1 or 2,B,heads,D,H,W) logs of the softmax's sums."""
    grad: Tensor
    """(B,D,H,W,C or 2C) gradient of `out`, contiguous."""


def saved_arguments(call: Call, saved: Saved, mutual: bool) -> dict[str, Tensor]:
    """The branch's part of the saved tensors, as arguments."""
    return {
        "out_ptr": branch_of(saved.out, call, mutual),
        "grad_ptr": branch_of(saved.grad, call, mutual),
        "lse_ptr": saved.lse[int(mutual)],
    }


def self_launch(call: Call, saved: Saved, dqkv: Tensor) -> tuple[Launch, Tensor, Tensor]:
    """Writes the first 3C channels of dqkv; also sums (windows,3C) for the offset, and deltas (B,heads,D,H,W)."""
    config = config_of(call, "backward", False)
    sums = call.qkv.new_empty((call.windows, call.offset.shape[0]), dtype=call.acc)
    arguments = call_arguments(call, False) | saved_arguments(call, saved, False) | tiles(config)
    delta = saved.lse.new_empty(saved.lse.shape[1:])
    arguments |= {"dqkv_ptr": dqkv, "sums_ptr": sums, "delta_ptr": delta}
    launch = Launch(window_attention_bwd_kernel, (call.windows * call.heads,), arguments, config.options())
    return launch, sums, delta


def mutual_launch(call: Call, saved: Saved, dqkv: Tensor) -> tuple[Launch, Tensor]:
    """Writes the last 3C channels of dqkv; also sums (splits,n,3C) for the mutual offset."""
    assert call.mutual_offset is not None
    config = config_of(call, "mutual_backward", True)
    splits = min(MUTUAL_SPLITS, 2 * call.windows)
    sums = call.qkv.new_empty((splits, *call.mutual_offset.shape), dtype=call.acc)
    arguments = call_arguments(call, True) | saved_arguments(call, saved, True) | tiles(config)
    arguments |= {"dqkv_ptr": dqkv[..., 3 * call.channels :], "sums_ptr": sums}
    arguments |= {"windows": call.windows, "splits": splits}
    grid = (splits * pieces(arguments["TOKENS"], config.own) * call.heads,)
    return Launch(window_attention_bwd_mutual_kernel, grid, arguments, config.options()), sums


def bias_launch(call: Call, saved: Saved, delta: Tensor) -> tuple[Launch, Tensor]:
    """Sums ds over windows: (splits,heads,N,N)."""
    config, tokens = config_of(call, "bias_backward", False), call.tokens(False)
    programs = call.heads * pieces(tokens, config.own) * pieces(tokens, config.passing)
    splits = min(call.windows, max(1, BIAS_PROGRAMS // programs))
    sums = call.qkv.new_empty((splits, call.heads, tokens, tokens), dtype=call.acc)
    arguments = call_arguments(call, False) | saved_arguments(call, saved, False) | tiles(config)
    arguments |= {"ds_ptr": sums, "delta_ptr": delta, "windows": call.windows, "splits": splits}
    del arguments["out_ptr"]
    return Launch(window_attention_bwd_bias_kernel, (splits * programs,), arguments, config.options()), sums


def table_launch(call: Call, ds: Tensor) -> tuple[Launch, Tensor]:
    """Computes the gradient of the table from ds (heads,N,N)."""
    config = config_of(call, "table_backward", False)
    dtable = call.bias.table.new_empty(call.bias.table.shape)
    names = ("HEADS", "BD", "BH", "BW", "TOKENS")
    arguments = {name: value for name, value in call_arguments(call, False).items() if name in names} | tiles(config)
    arguments |= {"ds_ptr": ds, "dtable_ptr": dtable, "rows": call.bias.table.shape[0]}
    grid = (pieces(call.bias.table.shape[0], config.own), call.heads)
    return Launch(window_attention_bwd_table_kernel, grid, arguments, config.options()), dtable
