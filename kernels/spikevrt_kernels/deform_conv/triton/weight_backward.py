"""Backward of the weights: a program walks over tiles with its sums in registers, and writes a row of its own."""

import triton
import triton.language as tl

from spikevrt_kernels.core.triton_fixed_point import magnitude
from spikevrt_kernels.core.triton_math import add_dot, zero_vectors
from spikevrt_kernels.core.triton_pairs import frames_of, load_flow, pixels_of, tiles_of
from spikevrt_kernels.core.triton_tiles import load_rows, store_vector, zero_tiles
from spikevrt_kernels.deform_conv.triton.sampling import sample_step, step_rows


@triton.jit(do_not_specialize=["ROWS"])
def deform_conv_bwd_bias_kernel(
    grad_ptr,  # (ROWS,COUT)
    sums_ptr,  # (programs,COUT+1) ACC: db, then max|dout|, infinite if a number is NaN
    ROWS,
    COUT: tl.constexpr, NO: tl.constexpr, CO: tl.constexpr, P: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Sum dout over pixels, and find its largest magnitude."""
    d_b, most = zero_vectors(NO, CO, ACC), tl.zeros((CO,), ACC)  # NO of (CO,), (CO,)
    for first in tl.range(tl.program_id(0) * P, ROWS, tl.num_programs(0) * P, disable_licm=True):
        row = tl.cast(first, tl.int64) + tl.arange(0, P)  # (P,)
        new_b = ()
        for j in tl.static_range(NO):
            grad = load_rows(grad_ptr, row, row < ROWS, j * CO, COUT, COUT, CO).to(ACC)  # (P,CO)
            new_b = new_b + (d_b[j] + tl.sum(grad, 0),)
            most = tl.maximum(most, tl.max(magnitude(grad), 0))
        d_b = new_b
    sums = sums_ptr + tl.program_id(0) * (COUT + 1)
    for j in tl.static_range(NO):
        store_vector(sums, d_b[j], j * CO, COUT, CO)
    tl.store(sums + COUT, tl.max(most, 0))


@triton.jit(do_not_specialize=["H", "W", "T", "PAIRS", "TILES"])
def deform_conv_bwd_weight_kernel(
    x_ptr,  # (B*T,H,W,C)
    predicted_ptr,  # (N,H,W,27G)
    flow_ptr,  # (N,2,H,W) ACC
    grad_ptr,  # (N,H,W,COUT)
    sums_ptr,  # (programs,9*C*COUT) ACC: dW
    H, W, T, PAIRS, TILES, residue,
    C: tl.constexpr, G: tl.constexpr, EP: tl.constexpr, GC: tl.constexpr, COUT: tl.constexpr, NO: tl.constexpr,
    CO: tl.constexpr, P: tl.constexpr, DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Sum the rows of dW of one step over neighbouring tiles; axis 0 of the grid are the steps, axis 1 divides tiles.

    Steps of the same tiles run side by side: what they read alike, dout and the features, comes from the cache.
    """
    BLOCKS: tl.constexpr = (G + GC - 1) // GC
    tap, first = tl.program_id(0) // BLOCKS, tl.program_id(0) % BLOCKS * GC
    tiles, plane = tiles_of(H, W, P), tl.cast(H, tl.int64) * W
    d_w = zero_tiles(NO, GC * EP, CO, ACC)  # NO of (GC*EP,CO)
    share = tl.cdiv(TILES, tl.num_programs(1))
    begin = tl.program_id(1) * share
    for tile in tl.range(begin, tl.minimum(begin + share, TILES), disable_licm=True):
        n = tl.cast(tile // tiles, tl.int64)
        y, x, inside = pixels_of(tile % tiles, H, W, P)
        row = n * plane + y * W + x  # (P,)
        neighbour, _ = frames_of(n, T, PAIRS)
        predicted, frame = predicted_ptr + row * (27 * G), x_ptr + neighbour * plane * C
        y0, x0 = load_flow(flow_ptr, n, y, x, inside, H, W, ACC)  # (P,)
        value = sample_step(frame, predicted, y0, x0, inside, tap, first, residue, H, W, C, G, EP, GC, P, DOT, ACC)
        value = tl.trans(value)  # (GC*EP,P)
        new_w = ()
        for j in tl.static_range(NO):
            grad = load_rows(grad_ptr, row, inside, j * CO, COUT, COUT, CO)  # (P,CO)
            new_w = new_w + (add_dot(d_w[j], value, grad, DOT, ACC),)
        d_w = new_w
    sums = sums_ptr + tl.cast(tl.program_id(1), tl.int64) * (9 * C * COUT)
    channel, exists = step_rows(first, C, G, EP, GC)  # (GC*EP,)
    for j in tl.static_range(NO):
        o = j * CO + tl.arange(0, CO)  # (CO,)
        at = (tap * C + channel)[:, None] * COUT + o[None, :]  # (GC*EP,CO)
        tl.store(sums + at, d_w[j], mask=exists[:, None] & (o < COUT)[None, :])
