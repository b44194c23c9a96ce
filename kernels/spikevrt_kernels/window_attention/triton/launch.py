"""Grids and constants for the launches of window attention's kernels."""

from functools import lru_cache
from math import e, log2, prod
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from spikevrt_kernels.core.launch import Launch, architecture, pieces
from spikevrt_kernels.core.precision import accumulation_dtype
from spikevrt_kernels.core.triton_math import TRITON_TYPES
from spikevrt_kernels.window_attention.call import Call
from spikevrt_kernels.window_attention.triton.backward import (
    window_attention_bwd_key_kernel,
    window_attention_bwd_query_kernel,
)
from spikevrt_kernels.window_attention.triton.forward import window_attention_fwd_kernel
from spikevrt_kernels.window_attention.triton.mutual_backward import window_attention_bwd_mutual_kernel
from spikevrt_kernels.window_attention.triton.scores import window_attention_bias_kernel
from spikevrt_kernels.window_attention.triton.table_backward import window_attention_bwd_table_kernel
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
    both: bool
    """Whether there is mutual attention in addition to self-attention."""
    added: bool
    """Whether the tokens of qkv hold the offsets already."""


def geometry_of(call: Call) -> Geometry:
    """The geometry of a call."""
    return Geometry(
        call.qkv.shape, call.qkv.dtype, call.channels, call.heads, call.window, call.shift, call.mutual, call.added
    )


def config_of(call: Call, kernel: str, mutual: bool) -> Config:
    """Tile size and warps of one kernel; for `target`, they come from the tile table."""
    tokens = call.tokens(mutual)
    variant = (str(call.qkv.dtype), call.channels // call.heads, tokens, int(mutual))
    device = call.qkv.device
    return choose(kernel, call.target or architecture(device), tokens, variant, None if call.target else device)


def bias_launch(call: Call, *kernels: str) -> tuple[Launch, Tensor]:
    """Expands the bias for some kernels of self-attention: (heads,SPAN,SPAN), whole tiles of each of them."""
    config, tokens = config_of(call, "bias", False), call.tokens(False)
    sides = [size for kernel in ("bias", *kernels) for size in config_of(call, kernel, False)[:2]]
    span = pieces(tokens, max(sides)) * max(sides)
    bias = call.qkv.new_empty((call.heads, span, span))
    arguments = {
        "table_ptr": call.bias.table,
        "bias_ptr": bias,
        **table_numbers(call),
        **tiles(config),
        "SPAN": span,
        "ACC": TRITON_TYPES[call.acc],
    }
    grid = (call.heads * (span // config.own),)
    return Launch(window_attention_bias_kernel, grid, arguments, config.options()), bias


def table_numbers(call: Call) -> dict[str, int]:
    """Numbers of the kernels that read or write the bias table."""
    sizes = dict(zip(("BD", "BH", "BW"), call.bias.window, strict=True))
    return {"HEADS": call.heads, **sizes, "TOKENS": call.tokens(False)}


def call_arguments(call: Call, bias: Tensor | None) -> dict[str, Any]:
    """The arguments that all kernels share; pointers are to the branch's first channel.

    `bias` is what `bias_launch` expands, or None for the mutual branch.
    """
    mutual = bias is None
    return {
        "bias_ptr": bias,
        "SPAN": 0 if bias is None else bias.shape[-1],
        "qkv_ptr": call.qkv[..., 3 * call.channels :] if mutual else call.qkv,
        "offset_ptr": call.mutual_offset if mutual else call.offset,
        **numbers(geometry_of(call), mutual),
    }


@lru_cache(maxsize=KEPT)
def numbers(geometry: Geometry, mutual: bool) -> dict[str, Any]:
    """Those arguments without the pointers; they are cached, so callers must copy them."""
    shape, dtype, C, heads, window, shift, both, added = geometry
    E, size = C // heads, shape[1:4]
    return {
        **dict(zip("DHW", size, strict=True)),
        **dict(zip(("nD", "nH", "nW"), window_counts(size, window), strict=True)),
        **dict(zip(("shift_d", "shift_h", "shift_w"), shift, strict=True)),
        "scale": E**-0.5 * log2(e),
        "HEADS": heads,
        "E": E,
        "EP": max(MIN_WIDTH, triton.next_power_of_2(E)),
        "WIDTH": shape[-1],
        "OUT_WIDTH": 2 * C if both else C,
        **dict(zip(("WD", "WH", "WW"), window, strict=True)),
        "TOKENS": prod(window[1:] if mutual else window),
        "MUTUAL": mutual,
        "SHIFTED": any(shift[1:] if mutual else shift),
        "ADDED": added,
        "DOT": TRITON_TYPES[dtype],
        "ACC": TRITON_TYPES[accumulation_dtype(dtype)],
    }


def tiles(config: Config) -> dict[str, int]:
    """The tile sizes, by the names of the kernels' arguments."""
    return {"OWN": config.own, "PASSING": config.passing}


def backward_options(call: Call, config: Config) -> dict[str, Any]:
    """Compiler options of the kernels for dq, dk and dv of self-attention."""
    narrow = call.channels // call.heads <= NARROW
    return config.options() | ({"maxnreg": NARROW_REGISTERS} if narrow else {})


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
    """The launch that expands the bias, one for each branch; the output, and the logs of the softmax's sums."""
    out, lse = new_outputs(call)
    expand, bias = bias_launch(call, "forward")
    launches = [expand]
    for mutual in branches(call):
        config = config_of(call, "mutual_forward" if mutual else "forward", mutual)
        arguments = call_arguments(call, None if mutual else bias) | tiles(config)
        arguments |= {"out_ptr": branch_of(out, call, mutual), "lse_ptr": lse[int(mutual)]}
        arguments |= {"windows": call.windows, "GROUP": config.group}
        grid = (pieces(call.windows, config.group) * call.heads,)
        launches.append(Launch(window_attention_fwd_kernel, grid, arguments, config.options()))
    return launches, out, lse


MUTUAL_SPLITS = 128
"""Programs that divide the windows for one tile of places; the number fixes the order of every sum."""
QUERY_PROGRAMS = 256
"""Programs for all heads and tiles of queries; those with the same tile divide the windows."""
LEAST_WINDOWS = 8
"""Windows for each of them at least, since each writes N sums of ds for every query."""
PART = 2
"""Tiles of keys whose sums of ds are in registers at a time."""
NARROW, NARROW_REGISTERS = 16, 224
"""Up to this head width the backward needs no more registers, though the assembler would take them."""


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


class QuerySums(NamedTuple):
    """What the launch for dq leaves to the next ones."""

    ds: Tensor
    """(splits,heads,N,N) sums of ds over windows."""
    offset: Tensor | None
    """(rows,C) sums of dq for the offset, or None where the projection added it: queries of padding get nothing."""
    delta: Tensor
    """(B,heads,D,H,W)."""


def query_launch(call: Call, bias: Tensor, saved: Saved, dqkv: Tensor) -> tuple[Launch, QuerySums]:
    """Writes dq of self-attention to dqkv."""
    config, tokens = config_of(call, "query_backward", False), call.tokens(False)
    programs = call.heads * pieces(tokens, config.own)
    splits = min(pieces(call.windows, LEAST_WINDOWS), max(1, QUERY_PROGRAMS // programs))
    ds = call.qkv.new_empty((splits, call.heads, tokens, tokens), dtype=call.acc)
    offset = None if call.added else ds.new_empty((splits * pieces(tokens, config.own), call.channels))
    sums = QuerySums(ds, offset, saved.lse.new_empty(saved.lse.shape[1:]))
    arguments = call_arguments(call, bias) | saved_arguments(call, saved, False) | tiles(config)
    arguments |= {"dqkv_ptr": dqkv, "delta_ptr": sums.delta, "ds_ptr": ds, "sums_ptr": offset}
    arguments |= {"windows": call.windows, "splits": splits, "PART": PART}
    grid = (splits * programs,)
    return Launch(window_attention_bwd_query_kernel, grid, arguments, backward_options(call, config)), sums


def key_launch(call: Call, bias: Tensor, saved: Saved, delta: Tensor, dqkv: Tensor) -> tuple[Launch, Tensor]:
    """Writes dk and dv of self-attention to dqkv; also their sums (windows,2C) for the offset."""
    config = config_of(call, "key_backward", False)
    sums = saved.lse.new_empty((call.windows, 2 * call.channels))
    arguments = call_arguments(call, bias) | saved_arguments(call, saved, False) | tiles(config)
    arguments |= {"dqkv_ptr": dqkv, "delta_ptr": delta, "sums_ptr": sums}
    del arguments["out_ptr"]
    grid = (call.windows * call.heads,)
    return Launch(window_attention_bwd_key_kernel, grid, arguments, backward_options(call, config)), sums


def offset_gradient(call: Call, of_queries: Tensor | None, of_keys: Tensor) -> Tensor:
    """(3C,) gradient of the offset from the sums of the two launches."""
    keys = of_keys.sum(0)
    queries = keys.new_zeros(call.channels) if of_queries is None else of_queries.sum(0)
    return torch.cat((queries, keys)).to(call.offset.dtype)


def mutual_launch(call: Call, saved: Saved, dqkv: Tensor) -> tuple[Launch, Tensor]:
    """Writes the last 3C channels of dqkv; also sums (splits,n,3C) for the mutual offset."""
    assert call.mutual_offset is not None
    config = config_of(call, "mutual_backward", True)
    splits = min(MUTUAL_SPLITS, 2 * call.windows)
    sums = call.qkv.new_empty((splits, *call.mutual_offset.shape), dtype=call.acc)
    arguments = call_arguments(call, None) | saved_arguments(call, saved, True) | tiles(config)
    arguments |= {"dqkv_ptr": dqkv[..., 3 * call.channels :], "sums_ptr": sums}
    arguments |= {"windows": call.windows, "splits": splits}
    grid = (splits * pieces(arguments["TOKENS"], config.own) * call.heads,)
    return Launch(window_attention_bwd_mutual_kernel, grid, arguments, config.options()), sums


def table_launch(call: Call, ds: Tensor) -> tuple[Launch, Tensor]:
    """Computes the gradient of the table from ds (heads,N,N)."""
    config = config_of(call, "table_backward", False)
    dtable = call.bias.table.new_empty(call.bias.table.shape)
    arguments: dict[str, Any] = table_numbers(call) | tiles(config)
    arguments |= {"ds_ptr": ds, "dtable_ptr": dtable, "rows": call.bias.table.shape[0]}
    grid = (pieces(call.bias.table.shape[0], config.own), call.heads)
    return Launch(window_attention_bwd_table_kernel, grid, arguments, config.options()), dtable
