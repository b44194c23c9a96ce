"""Grids and constants of window attention's kernels."""

from math import prod
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from spikevrt_kernels.dots import TRITON_TYPES
from spikevrt_kernels.launches import Launch, architecture
from spikevrt_kernels.precision import accumulation_dtype
from spikevrt_kernels.window_attention.configs import Config, choose
from spikevrt_kernels.window_attention.kernels.forward import window_attention_fwd_kernel
from spikevrt_kernels.window_attention.windows import Size3

MIN_WIDTH = 16
"""The smallest depth of a matrix product: narrower heads are padded in registers."""


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
    def size(self) -> Size3:
        """(D,H,W)."""
        _, D, H, W, _ = self.qkv.shape
        return D, H, W

    @property
    def counts(self) -> Size3:
        """Windows along each axis, padding included."""
        d, h, w = (-(-s // n) for s, n in zip(self.size, self.window, strict=True))
        return d, h, w

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
    C = call.channels
    E = C // call.heads
    return {
        "qkv_ptr": call.qkv[..., 3 * C :] if mutual else call.qkv,
        "offset_ptr": call.mutual_offset if mutual else call.offset,
        "table_ptr": None if mutual else call.table,
        **dict(zip("DHW", call.size, strict=True)),
        **dict(zip(("nD", "nH", "nW"), call.counts, strict=True)),
        **dict(zip(("shift_d", "shift_h", "shift_w"), call.shift, strict=True)),
        "scale": E**-0.5,
        "HEADS": call.heads,
        "E": E,
        "EP": max(MIN_WIDTH, triton.next_power_of_2(E)),
        "WIDTH": call.qkv.shape[-1],
        "OUT_WIDTH": C if call.mutual_offset is None else 2 * C,
        **dict(zip(("WD", "WH", "WW"), call.window, strict=True)),
        **dict(zip(("BD", "BH", "BW"), call.configured, strict=True)),
        "TOKENS": call.tokens(mutual),
        "MUTUAL": mutual,
        "SHIFTED": any(call.shift[1:] if mutual else call.shift),
        "DOT": TRITON_TYPES[call.qkv.dtype],
        "ACC": TRITON_TYPES[call.acc],
    }


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
