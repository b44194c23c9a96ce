"""Grids and constants of window attention's kernels."""

from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from spikevrt_kernels.core.launch import Launch, architecture
from spikevrt_kernels.core.precision import accumulation_dtype
from spikevrt_kernels.core.triton_math import TRITON_TYPES
from spikevrt_kernels.window_attention.triton.forward import window_attention_fwd_kernel
from spikevrt_kernels.window_attention.triton.tile_table import Config, choose
from spikevrt_kernels.window_attention.windows import Size3

MIN_WIDTH = 16
"""The smallest depth of a matrix product: narrower heads are padded in registers."""
KEPT = 512
"""Geometries of calls whose numbers are kept: a model has some tens at a size of clips."""


class Geometry(NamedTuple):
    """All of a call but its tensors' values: what grids and constants follow from."""

    shape: torch.Size
    """Of qkv: (B,D,H,W,3C or 6C)."""
    dtype: torch.dtype
    """Of qkv."""
    channels: int
    """C."""
    heads: int
    window: Size3
    shift: Size3
    configured: Size3
    both: bool
    """With mutual attention."""


class Call(NamedTuple):
    """One call of window attention, as its kernels see it."""

    qkv: Tensor
    """(B,D,H,W,3C), or 6C with mutual attention, contiguous."""
    offset: Tensor
    """(3C,)."""
    table: Tensor
    """((2wd-1)(2wh-1)(2ww-1),heads) of the configured window."""
    mutual_offset: Tensor | None
    """(n,3C)."""
    heads: int
    window: Size3
    shift: Size3
    configured: Size3
    """The window of the table."""
    target: int | None = None
    """Architecture to choose configurations for; None = that of the device."""

    @property
    def acc(self) -> torch.dtype:
        """Type of sums and softmax."""
        return accumulation_dtype(self.qkv.dtype)

    @property
    def channels(self) -> int:
        """C."""
        return self.offset.shape[0] // 3

    @property
    def geometry(self) -> Geometry:
        """Without its tensors."""
        sizes = self.window, self.shift, self.configured
        both = self.mutual_offset is not None
        return Geometry(self.qkv.shape, self.qkv.dtype, self.channels, self.heads, *sizes, both)

    @property
    def size(self) -> Size3:
        """(D,H,W)."""
        _, D, H, W, _ = self.qkv.shape
        return D, H, W

    @property
    def counts(self) -> Size3:
        """Windows along each axis, padding included."""
        return counts(self.size, self.window)

    @property
    def windows(self) -> int:
        """Windows of the whole batch."""
        return self.qkv.shape[0] * prod(self.counts)

    def tokens(self, mutual: bool) -> int:
        """Tokens that attend each other: of a window, or of one of its frames."""
        return prod(self.window[1:] if mutual else self.window)

    def config(self, kernel: str, mutual: bool) -> Config:
        """Tile and warps of one kernel; a plan for another architecture takes them from the static table."""
        tokens = self.tokens(mutual)
        variant = (str(self.qkv.dtype), self.channels // self.heads, tokens, int(mutual))
        device = self.qkv.device
        return choose(kernel, self.target or architecture(device), tokens, variant, None if self.target else device)


def call_arguments(call: Call, mutual: bool) -> dict[str, Any]:
    """Arguments that all kernels share; pointers begin at the branch's first channel."""
    return {
        "qkv_ptr": call.qkv[..., 3 * call.channels :] if mutual else call.qkv,
        "offset_ptr": call.mutual_offset if mutual else call.offset,
        "table_ptr": None if mutual else call.table,
        **numbers(call.geometry, mutual),
    }


@lru_cache(maxsize=KEPT)
def numbers(geometry: Geometry, mutual: bool) -> dict[str, Any]:
    """Arguments that all kernels share, without pointers: kept from call to call, to be copied."""
    shape, dtype, C, heads, window, shift, configured, both = geometry
    E, size = C // heads, shape[1:4]
    return {
        **dict(zip("DHW", size, strict=True)),
        **dict(zip(("nD", "nH", "nW"), counts(size, window), strict=True)),
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


@lru_cache(maxsize=KEPT)
def counts(size: Size3, window: Size3) -> Size3:
    """Windows along each axis, padding included."""
    d, h, w = (-(-s // n) for s, n in zip(size, window, strict=True))
    return d, h, w


def tiles(config: Config) -> dict[str, int]:
    """Tiles by the kernels' names."""
    return {"OWN": config.own, "PASSING": config.passing}


def branch_of(x: Tensor, call: Call, mutual: bool) -> Tensor:
    """The channels of one branch of an output (B,D,H,W,2C) ordered [mutual|self], or all of (B,D,H,W,C)."""
    return x if mutual or call.mutual_offset is None else x[..., call.channels :]


def branches(call: Call) -> tuple[bool, ...]:
    """Self-attention, and mutual attention where there is an offset for it."""
    return (False,) if call.mutual_offset is None else (False, True)


def new_outputs(call: Call) -> tuple[Tensor, Tensor]:
    """Room for out (B,D,H,W,C or 2C) and lse (1 or 2,B,heads,D,H,W)."""
    count = len(branches(call))
    out = call.qkv.new_empty((*call.qkv.shape[:-1], count * call.channels))
    return out, call.qkv.new_empty((count, call.qkv.shape[0], call.heads, *call.size), dtype=call.acc)


def forward_launches(call: Call) -> tuple[list[Launch], Tensor, Tensor]:
    """One launch a branch, the output and the logs of the softmax's sums."""
    out, lse = new_outputs(call)
    launches = []
    for mutual in branches(call):
        config = call.config("forward", mutual)
        arguments = call_arguments(call, mutual) | tiles(config)
        arguments |= {"out_ptr": branch_of(out, call, mutual), "lse_ptr": lse[int(mutual)]}
        grid = (call.windows * call.heads,)
        launches.append(Launch(window_attention_fwd_kernel, grid, arguments, config.options()))
    return launches, out, lse
