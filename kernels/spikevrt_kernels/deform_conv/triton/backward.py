"""Backward of the features: gradients of x, of what was predicted and of the flow.

A program owns P pixels of one pair, goes through the same steps as the forward and gathers again. The gradient of x is
scattered by atomics; the others are sums over what a program holds.
"""

import triton
import triton.language as tl

from spikevrt_kernels.core.triton_fixed_point import resolution_of
from spikevrt_kernels.core.triton_math import add_dot
from spikevrt_kernels.core.triton_pairs import around, frames_of, load_flow, pixels_of, tiles_of
from spikevrt_kernels.core.triton_tiles import load_rows
from spikevrt_kernels.deform_conv.triton.fixed_point import bound_of
from spikevrt_kernels.deform_conv.triton.sampling import load_corner, load_step_weight, load_tap


@triton.jit
def scatter(
    dx,  # (P,GC) pointers to the first channel of a group
    share,  # (P,GC)
    dvalue,  # (P,GC,EP) ACC
    exists,  # (P,GC)
    E: tl.constexpr, EP: tl.constexpr,
):  # fmt: skip
    """Add the share of a corner to the gradient of x, as integers where dx holds such."""
    e = tl.arange(0, EP)[None, None, :]
    part = (share[:, :, None] * dvalue).to(dx.dtype.element_ty)  # (P,GC,EP)
    tl.atomic_add(dx[:, :, None] + e, part, mask=exists[:, :, None] & (e < E), sem="relaxed")


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
    return tl.reshape(found, (P, GC, EP))


@triton.jit(do_not_specialize=["H", "W", "T", "PAIRS"])
def deform_conv_bwd_features_kernel(
    x_ptr,  # (B*T,H,W,C)
    predicted_ptr,  # (N,H,W,27G)
    flow_ptr,  # (N,2,H,W) ACC
    weight_ptr,  # (9,C,COUT) DOT
    grad_ptr,  # (N,H,W,COUT)
    dx_ptr,  # (B*T,H,W,C) int64, or ACC if not FIXED: zeros before
    dpredicted_ptr,  # (N,H,W,27G)
    dflow_ptr,  # (N,2,H,W) ACC
    largest_ptr,  # (1,) ACC: max|dout|; where a gate is NaN, NaN is written. None if not FIXED
    column_ptr,  # (1,) ACC: the largest sum of |W| over outputs. None if not FIXED
    H, W, T, PAIRS, residue,
    C: tl.constexpr, G: tl.constexpr, EP: tl.constexpr, GC: tl.constexpr, COUT: tl.constexpr, CO: tl.constexpr,
    P: tl.constexpr, FIXED: tl.constexpr, DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Compute the gradients of the features of P pixels of one pair."""
    E: tl.constexpr = C // G
    BLOCKS: tl.constexpr = (G + GC - 1) // GC
    tiles, plane = tiles_of(H, W, P), tl.cast(H, tl.int64) * W
    n = tl.cast(tl.program_id(0) // tiles, tl.int64)
    y, x, inside = pixels_of(tl.program_id(0) % tiles, H, W, P)
    row = n * plane + y * W + x  # (P,)
    predicted, dpredicted = predicted_ptr + row * (27 * G), dpredicted_ptr + row * (27 * G)  # (P,)
    neighbour, _ = frames_of(n, T, PAIRS)
    frame = neighbour * plane * C
    y0, x0 = load_flow(flow_ptr, n, y, x, inside, H, W, ACC)  # (P,)
    scale = 1.0
    if FIXED:
        scale = 1.0 / resolution_of(bound_of(largest_ptr, column_ptr, H, W, ACC))
    dflow_y, dflow_x = tl.zeros((P,), ACC), tl.zeros((P,), ACC)
    for step in tl.range(0, 9 * BLOCKS, disable_licm=True):
        tap, first = step // BLOCKS, step % BLOCKS * GC
        g = first + tl.arange(0, GC)  # (GC,)
        mask = inside[:, None] & (g < G)[None, :]  # (P,GC)
        sy, sx, dy, dx, gate = load_tap(predicted, y0, x0, tap, g, mask, residue, G, ACC)  # (P,GC)
        iy, ix, ry, rx, above, below, before, after = around(sy, sx, mask, H, W)  # (P,GC)
        at = frame + (tl.cast(iy * W + ix, tl.int64) * C + (g * E)[None, :])  # (P,GC)
        a = load_corner(x_ptr + at, above & before, E, EP, ACC)  # (P,GC,EP)
        b = load_corner(x_ptr + at + C, above & after, E, EP, ACC)
        c = load_corner(x_ptr + at + W * C, below & before, E, EP, ACC)
        d = load_corner(x_ptr + at + W * C + C, below & after, E, EP, ACC)
        upper, across = a + rx[:, :, None] * (b - a), b - a + ry[:, :, None] * (d - c - b + a)
        down = c + rx[:, :, None] * (d - c) - upper  # (P,GC,EP)
        dvalue = value_gradient(grad_ptr, row, inside, weight_ptr, tap, first, C, G, EP, GC, COUT, CO, P, DOT, ACC)
        dgate = tl.sum(dvalue * (upper + ry[:, :, None] * down), 2)  # (P,GC)
        dsy, dsx = gate * tl.sum(dvalue * down, 2), gate * tl.sum(dvalue * across, 2)
        store_tap(dpredicted, tap, g, mask, residue * (1.0 - dy * dy) * dsy, residue * (1.0 - dx * dx) * dsx,
                  gate * (1.0 - gate) * dgate, G)  # fmt: skip
        dflow_y += tl.sum(dsy, 1)
        dflow_x += tl.sum(dsx, 1)
        if FIXED:
            nan = tl.full((P, GC), float("nan"), ACC)
            tl.store(largest_ptr + tl.zeros((P, GC), tl.int32), nan, mask=mask & (gate != gate))
        gate *= scale
        scatter(dx_ptr + at, gate * (1.0 - ry) * (1.0 - rx), dvalue, above & before, E, EP)
        scatter(dx_ptr + at + C, gate * (1.0 - ry) * rx, dvalue, above & after, E, EP)
        scatter(dx_ptr + at + W * C, gate * ry * (1.0 - rx), dvalue, below & before, E, EP)
        scatter(dx_ptr + at + W * C + C, gate * ry * rx, dvalue, below & after, E, EP)
    flow = dflow_ptr + 2 * n * plane + y * W + x  # (P,)
    tl.store(flow, dflow_x, mask=inside)
    tl.store(flow + plane, dflow_y, mask=inside)
