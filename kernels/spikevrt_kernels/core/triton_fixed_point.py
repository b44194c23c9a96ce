"""Sums of scattered gradients in fixed point: integers commute, so the bits are the same in any order.

Whoever scatters knows a bound that no sum exceeds. Numbers are stored as x * 2^(61 - ceil(log2 bound)), so no sum
passes 2^61; the factor 4 up to an overflow of int64 covers what rounding adds. The resolution is at worst 2^-60 of the
bound.
"""

import triton
import triton.language as tl

BITS = tl.constexpr(61)
SMALLEST = tl.constexpr(2.0**-60)
"""Smallest bound: its resolution must not pass what float32 holds."""


@triton.jit
def resolution_of(bound):
    """What one unit of the integers stands for: a power of two."""
    return tl.exp2(tl.ceil(tl.log2(tl.maximum(bound, SMALLEST))) - BITS)


@triton.jit
def unit_of(bound):
    """The resolution, or NaN where the bound is not finite, because the sums then mean nothing."""
    return tl.where(bound < float("inf"), resolution_of(bound), float("nan"))


@triton.jit
def magnitude(tile):
    """|tile|, infinite where a number is NaN, which a maximum would lose."""
    return tl.where(tile == tile, tl.abs(tile), float("inf"))
