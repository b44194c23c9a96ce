"""The gradient of x in fixed point (see `core.triton_fixed_point`): its bound, and how it becomes floating point.

An element of dx is a sum of products: of a share of a pixel and a gate, both at most 1, with an element of dout W^T,
which is at most max|dout| times the largest sum of |W| over outputs. A frame is read by at most 2 pairs, by each of
their H*W pixels at most once a tap: no sum exceeds `bound` = 2 * 9 * H*W times that. The resolution is at worst 2^-40
of the largest possible element at 256 x 256 pixels, 2^-51 at 6 x 6.
"""

import triton
import triton.language as tl

from spikevrt_kernels.core.triton_fixed_point import unit_of


@triton.jit
def bound_of(
    largest_ptr,  # (1,) ACC: max|dout|
    column_ptr,  # (1,) ACC: the largest sum of |W| over outputs
    H, W,
    ACC: tl.constexpr,
):  # fmt: skip
    """The largest magnitude that an element of dx can have, in ACC; not finite if dout or W is not."""
    pixels = tl.cast(H, tl.int64) * W
    return (18 * pixels).to(ACC) * tl.load(largest_ptr) * tl.load(column_ptr)


@triton.jit(do_not_specialize=["H", "W", "numbers"])
def deform_conv_bwd_convert_kernel(
    fixed_ptr,  # (B,T,H,W,C) int64
    dx_ptr,  # (B,T,H,W,C)
    largest_ptr,  # (1,) ACC
    column_ptr,  # (1,) ACC
    H, W, numbers,
    BLOCK: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Turn fixed point into floating point: all NaN if the bound is not finite."""
    at = tl.cast(tl.program_id(0), tl.int64) * BLOCK + tl.arange(0, BLOCK)  # (BLOCK,)
    bound = bound_of(largest_ptr, column_ptr, H, W, ACC)
    fixed = tl.load(fixed_ptr + at, mask=at < numbers, other=0)
    tl.store(dx_ptr + at, (fixed.to(ACC) * unit_of(bound)).to(dx_ptr.dtype.element_ty), mask=at < numbers)
