"""Sums of scattered gradients in fixed point: integers commute, so the bits are the same in any order.

Whoever scatters knows a bound that no sum exceeds. Numbers are stored as x * 2^(61 - ceil(log2 bound)), so no sum
passes 2^61; the factor 4 up to an overflow of int64 covers what rounding adds. The resolution is at worst 2^-60 of the
bound. Numbers stand where they are used, as in window attention's `scores.py`.
"""

import triton
import triton.language as tl


@triton.jit
def resolution_of(bound):
    """What one unit of the integers stands for: a power of two."""
    # A bound of at least 2^-60: its resolution must not pass what float32 holds.
    return tl.exp2(tl.ceil(tl.log2(tl.maximum(bound, 8.673617379884035e-19))) - 61)


@triton.jit
def unit_of(bound):
    """The resolution, or NaN where the bound is not finite, because the sums then mean nothing."""
    return tl.where(bound < float("inf"), resolution_of(bound), float("nan"))


@triton.jit
def magnitude(tile):
    """|tile|, infinite where a number is NaN, which a maximum would lose."""
    return tl.where(tile == tile, tl.abs(tile), float("inf"))
