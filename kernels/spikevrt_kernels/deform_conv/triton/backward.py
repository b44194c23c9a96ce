"""Backward: all gradients that gather what the forward gathered, in one kernel; and before it that of the bias.

A program owns some groups with all their taps and walks over tiles. It goes through the taps as the forward does and
gathers again. The gradient of x is scattered by atomics; those of predicted and flow are sums over what a program
holds; those of the weights stay in registers until the last tile, and are written to a row of the program's own.
"""

import triton
import triton.language as tl

from spikevrt_kernels.core.triton_fixed_point import magnitude, resolution_of
from spikevrt_kernels.core.triton_math import add_dot, zero_vectors
from spikevrt_kernels.core.triton_pairs import frames_of, load_flow, pixels_of, tiles_of
from spikevrt_kernels.core.triton_tiles import load_rows, store_vector, zero_tiles
from spikevrt_kernels.deform_conv.triton.corners import corner_exists, corners_of, load_corners, step_channels
from spikevrt_kernels.deform_conv.triton.fixed_point import bound_of
from spikevrt_kernels.deform_conv.triton.sampling import load_step_weight, load_tap, step_rows


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


@triton.jit
def scatter(
    dx,  # (P,GC,EP) pointers
    part,  # (P,GC,EP) ACC
    exists,  # (P,GC,EP)
):  # fmt: skip
    """Add the share of a corner to the gradient of x, as integers where dx holds such."""
    tl.atomic_add(dx, part.to(dx.dtype.element_ty), mask=exists, sem="relaxed")


@triton.jit
def store_tap(
    dpredicted,  # (P,) pointers to rows of 27G
    tap, g, mask,
    dy, dx, dgate,  # (P,GC)
    G: tl.constexpr,
):  # fmt: skip
    """The inverse of `load_tap`: write the gradients of what was predicted for groups g."""
    kind = dpredicted.dtype.element_ty
    at = dpredicted[:, None] + (tap * (3 * G) + g)[None, :]  # (P,GC)
    tl.store(at, dy.to(kind), mask=mask)
    tl.store(at + G, dx.to(kind), mask=mask)
    tl.store(at + 2 * G, dgate.to(kind), mask=mask)


@triton.jit
def value_gradient(
    grad_ptr,  # (N,H,W,COUT)
    row, inside,  # (P,)
    weight_ptr,  # (9,C,COUT) DOT
    tap, first,
    C: tl.constexpr, G: tl.constexpr, EP: tl.constexpr, GC: tl.constexpr, COUT: tl.constexpr, CO: tl.constexpr,
    P: tl.constexpr, DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """dout W^T of one step: (P,GC,EP) in ACC."""
    found = tl.zeros((P, GC * EP), ACC)
    for o in tl.static_range(0, COUT, CO):
        grad = load_rows(grad_ptr, row, inside, o, COUT, COUT, CO)  # (P,CO)
        w = load_step_weight(weight_ptr, tap, first, o, C, G, EP, GC, COUT, CO)  # (GC*EP,CO)
        found = add_dot(found, grad, tl.trans(w), DOT, ACC)
    # A sum along an axis of one changes nothing, but the compiler cannot carry a product's layout through it: the
    # product is spread over threads as the features are, once, instead of all that meets it later.
    return tl.reshape(tl.cumsum(tl.reshape(found, (P, GC, EP, 1)), 3), (P, GC, EP))


@triton.jit
def add_to_tap(
    d_w,  # NO * TAPS of (GC*EP,CO), those of the same outputs side by side
    t,
    value,  # (GC*EP,P) DOT
    grad_ptr,  # (N,H,W,COUT)
    row, inside,  # (P,)
    COUT: tl.constexpr, NO: tl.constexpr, CO: tl.constexpr, TAPS: tl.constexpr, DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """The sums of the weights' gradients after `value` dout was added to those of the program's tap t.

    Registers have no index: a branch for each tap, so that the code around it stands once.
    """
    new = ()
    for j in tl.static_range(NO):
        grad = load_rows(grad_ptr, row, inside, j * CO, COUT, COUT, CO)  # (P,CO)
        for k in tl.static_range(TAPS):
            total = d_w[j * TAPS + k]
            if t == k:
                total = add_dot(total, value, grad, DOT, ACC)
            new = new + (total,)
    return new


@triton.jit(do_not_specialize=["H", "W", "T", "PAIRS", "TILES"])
def deform_conv_bwd_gradients_kernel(
    x_ptr,  # (B*T,H,W,C)
    predicted_ptr,  # (N,H,W,27G)
    flow_ptr,  # (N,2,H,W) ACC
    weight_ptr,  # (9,C,COUT) DOT
    grad_ptr,  # (N,H,W,COUT)
    dx_ptr,  # (B*T,H,W,C) int64, or ACC if not FIXED: zeros before
    dpredicted_ptr,  # (N,H,W,27G)
    dflow_ptr,  # (programs of axis 0,N,2,H,W) ACC: sums over the groups and taps of a program
    sums_ptr,  # (programs of axis 1,9*C*COUT) ACC: dW
    largest_ptr,  # (1,) ACC: max|dout|; where a gate is NaN, NaN is written. None if not FIXED
    column_ptr,  # (1,) ACC: the largest sum of |W| over outputs. None if not FIXED
    H, W, T, PAIRS, TILES, residue,
    C: tl.constexpr, G: tl.constexpr, EP: tl.constexpr, GC: tl.constexpr, COUT: tl.constexpr, NO: tl.constexpr,
    CO: tl.constexpr, TAPS: tl.constexpr, P: tl.constexpr, FIXED: tl.constexpr, DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Compute the gradients of TAPS taps of GC groups over neighbouring tiles of P pixels.

    Axis 0 of the grid divides groups and taps, axis 1 tiles: programs of the same tiles run side by side, so that what
    they read alike, dout and the flow, comes from the cache.
    """
    BLOCKS: tl.constexpr = (G + GC - 1) // GC
    first, first_tap = tl.program_id(0) % BLOCKS * GC, tl.program_id(0) // BLOCKS * TAPS
    g = first + tl.arange(0, GC)  # (GC,)
    channel, real = step_channels(g, C, G, EP)  # (1,GC,EP)
    tiles, plane = tiles_of(H, W, P), tl.cast(H, tl.int64) * W
    scale = 1.0
    if FIXED:
        scale = 1.0 / resolution_of(bound_of(largest_ptr, column_ptr, H, W, ACC))
    d_w = zero_tiles(NO * TAPS, GC * EP, CO, ACC)  # NO * TAPS of (GC*EP,CO)
    share = tl.cdiv(TILES, tl.num_programs(1))
    begin = tl.program_id(1) * share
    for tile in tl.range(begin, tl.minimum(begin + share, TILES), disable_licm=True):
        n = tl.cast(tile // tiles, tl.int64)
        y, x, inside = pixels_of(tile % tiles, H, W, P)
        row = n * plane + y * W + x  # (P,)
        predicted, dpredicted = predicted_ptr + row * (27 * G), dpredicted_ptr + row * (27 * G)  # (P,)
        neighbour, _ = frames_of(n, T, PAIRS)
        frame = neighbour * plane * C
        y0, x0 = load_flow(flow_ptr, n, y, x, inside, H, W, ACC)  # (P,)
        mask = inside[:, None] & (g < G)[None, :]  # (P,GC)
        dflow_y, dflow_x = tl.zeros((P,), ACC), tl.zeros((P,), ACC)
        for t in tl.range(0, TAPS, disable_licm=True):
            tap = first_tap + t
            sy, sx, dy, dx, gate = load_tap(predicted, y0, x0, tap, g, mask, residue, G, ACC)  # (P,GC)
            place, ry, rx, exist = corners_of(sy, sx, mask, H, W)  # (P,GC)
            at = frame + tl.cast(place, tl.int64)[:, :, None] * C + channel  # (P,GC,EP)
            ry, rx = ry[:, :, None], rx[:, :, None]  # (P,GC,1)
            a, b, c, d = load_corners(x_ptr + at, exist, real, W, C, ACC)  # (P,GC,EP)
            upper, across = a + rx * (b - a), b - a + ry * (d - c - b + a)
            down = c + rx * (d - c) - upper
            between = upper + ry * down
            dvalue = value_gradient(grad_ptr, row, inside, weight_ptr, tap, first, C, G, EP, GC, COUT, CO, P, DOT, ACC)
            dgate = tl.sum(dvalue * between, 2)  # (P,GC)
            dsy, dsx = gate * tl.sum(dvalue * down, 2), gate * tl.sum(dvalue * across, 2)
            store_tap(dpredicted, tap, g, mask, residue * (1.0 - dy * dy) * dsy, residue * (1.0 - dx * dx) * dsx,
                      gate * (1.0 - gate) * dgate, G)  # fmt: skip
            dflow_y += tl.sum(dsy, 1)
            dflow_x += tl.sum(dsx, 1)
            value = tl.trans(tl.reshape(gate[:, :, None] * between, (P, GC * EP)).to(DOT))  # (GC*EP,P)
            if FIXED:
                nan = tl.full((P, GC), float("nan"), ACC)
                tl.store(largest_ptr + tl.zeros((P, GC), tl.int32), nan, mask=mask & (gate != gate))
            part = (gate * scale)[:, :, None] * dvalue
            upper, lower = (1.0 - ry) * part, ry * part  # (P,GC,EP)
            scatter(dx_ptr + at, (1.0 - rx) * upper, corner_exists(exist, real, 0))
            scatter(dx_ptr + at + C, rx * upper, corner_exists(exist, real, 1))
            scatter(dx_ptr + at + W * C, (1.0 - rx) * lower, corner_exists(exist, real, 2))
            scatter(dx_ptr + at + W * C + C, rx * lower, corner_exists(exist, real, 3))
            d_w = add_to_tap(d_w, t, value, grad_ptr, row, inside, COUT, NO, CO, TAPS, DOT, ACC)
        # 2 * PAIRS = N.
        flow = dflow_ptr + 2 * (tl.program_id(0) * (2 * tl.cast(PAIRS, tl.int64)) + n) * plane + y * W + x  # (P,)
        tl.store(flow, dflow_x, mask=inside)
        tl.store(flow + plane, dflow_y, mask=inside)
    sums = sums_ptr + tl.cast(tl.program_id(1), tl.int64) * (9 * C * COUT)
    row, exists = step_rows(first, C, G, EP, GC)  # (GC*EP,)
    for j in tl.static_range(NO):
        o = j * CO + tl.arange(0, CO)  # (CO,)
        for k in tl.static_range(TAPS):
            at = ((first_tap + k) * C + row)[:, None] * COUT + o[None, :]  # (GC*EP,CO)
            tl.store(sums + at, d_w[j * TAPS + k], mask=exists[:, None] & (o < COUT)[None, :])
