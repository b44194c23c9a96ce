"""Backward: gradients of the flow, then the scattered gradients of the neighbours, then those of the frames beside.

The gradient of the neighbours is scattered in fixed point (see `core.triton_fixed_point`). An element of it is a sum of
products of a share of a pixel, at most 1, with an element of dout, over at most 2 pairs that read a frame and their H*W
pixels: no sum exceeds 2 H*W max|dout|. A frame itself has at most 2 gradients, which are added without atomics.
"""

import triton
import triton.language as tl

from spikevrt_kernels.core.triton_fixed_point import magnitude, resolution_of, unit_of
from spikevrt_kernels.core.triton_pairs import around, frames_of, load_flow, pixels_of, tiles_of
from spikevrt_kernels.core.triton_tiles import load_rows, store_rows
from spikevrt_kernels.warp_pairs.triton.forward import load_corners


@triton.jit(do_not_specialize=["H", "W", "T", "PAIRS"])
def warp_pairs_bwd_flow_kernel(
    x_ptr,  # (B*T,H,W,C)
    flow_ptr,  # (N,2,H,W) ACC
    grad_ptr,  # (N,H,W,2C+2)
    dflow_ptr,  # (N,2,H,W) ACC
    largest_ptr,  # (programs,) ACC: max|dout| of the warped channels, infinite if one is NaN. None: not asked for
    H, W, T, PAIRS,
    C: tl.constexpr, CK: tl.constexpr, P: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Sum over channels what P pixels of one pair say about the flow, and add the gradient of its own channels."""
    WIDTH: tl.constexpr = 2 * C + 2
    tiles, plane = tiles_of(H, W, P), tl.cast(H, tl.int64) * W
    n = tl.cast(tl.program_id(0) // tiles, tl.int64)
    y, x, inside = pixels_of(tl.program_id(0) % tiles, H, W, P)
    here = tl.cast(y * W + x, tl.int64)  # (P,)
    row = n * plane + here  # (P,)
    neighbour, _ = frames_of(n, T, PAIRS)
    sy, sx = load_flow(flow_ptr, n, y, x, inside, H, W, ACC)  # (P,)
    iy, ix, ry, rx, above, below, before, after = around(sy, sx, inside, H, W)  # (P,)
    at = tl.cast(iy * W + ix, tl.int64)  # (P,)
    ry, rx = ry[:, None], rx[:, None]  # (P,1)
    last = grad_ptr + row * WIDTH + 2 * C  # (P,)
    dsx = tl.load(last, mask=inside, other=0.0).to(ACC)  # (P,)
    dsy = tl.load(last + 1, mask=inside, other=0.0).to(ACC)
    most = tl.zeros((P,), ACC)
    for c in tl.range(0, C, CK, disable_licm=True):
        a, b, d, e = load_corners(x_ptr + neighbour * plane * C, at, above, below, before, after, c, W, C, CK, ACC)
        grad = load_rows(grad_ptr, row, inside, c, C, WIDTH, CK).to(ACC)  # (P,CK)
        dsx += tl.sum(grad * (b - a + ry * (e - d - b + a)), 1)
        dsy += tl.sum(grad * (d - a + rx * (e - b - d + a)), 1)
        if largest_ptr is not None:
            most = tl.maximum(most, tl.max(magnitude(grad), 1))
    dflow = dflow_ptr + 2 * n * plane + here  # (P,)
    tl.store(dflow, dsx, mask=inside)
    tl.store(dflow + plane, dsy, mask=inside)
    if largest_ptr is not None:
        tl.store(largest_ptr + tl.program_id(0), tl.max(most, 0))


@triton.jit
def bound_of(
    largest_ptr,  # (1,) ACC: max|dout| of the warped channels
    H, W,
    ACC: tl.constexpr,
):  # fmt: skip
    """The largest magnitude that the scattered sums can have, in ACC; not finite if dout is not."""
    return (2 * tl.cast(H, tl.int64) * W).to(ACC) * tl.load(largest_ptr)


@triton.jit
def scatter(
    frame,  # (H,W,C) pointer
    at,  # (P,) int64
    exists, share,  # (P,)
    grad,  # (P,CK) ACC
    c,
    C: tl.constexpr, CK: tl.constexpr,
):  # fmt: skip
    """Add the share of one pixel around positions, as integers where `frame` holds such, unless it is zero."""
    channel = c + tl.arange(0, CK)  # (CK,)
    part = (share[:, None] * grad).to(frame.dtype.element_ty)  # (P,CK)
    mask = (exists & (share != 0.0))[:, None] & (channel < C)[None, :]
    tl.atomic_add(frame + at[:, None] * C + channel[None, :], part, mask=mask, sem="relaxed")


@triton.jit(do_not_specialize=["H", "W", "T", "PAIRS"])
def warp_pairs_bwd_scatter_kernel(
    flow_ptr,  # (N,2,H,W) ACC
    grad_ptr,  # (N,H,W,2C+2)
    sums_ptr,  # (B*T,H,W,C) int64, or ACC if there is no largest_ptr: zeros before
    largest_ptr,  # (1,) ACC, or None
    H, W, T, PAIRS,
    C: tl.constexpr, CK: tl.constexpr, P: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Scatter the gradient of the warped channels of P pixels of one pair over its neighbour."""
    tiles, plane = tiles_of(H, W, P), tl.cast(H, tl.int64) * W
    n = tl.cast(tl.program_id(0) // tiles, tl.int64)
    y, x, inside = pixels_of(tl.program_id(0) % tiles, H, W, P)
    row = n * plane + y * W + x  # (P,)
    neighbour, _ = frames_of(n, T, PAIRS)
    frame = sums_ptr + neighbour * plane * C
    sy, sx = load_flow(flow_ptr, n, y, x, inside, H, W, ACC)  # (P,)
    iy, ix, ry, rx, above, below, before, after = around(sy, sx, inside, H, W)  # (P,)
    at = tl.cast(iy * W + ix, tl.int64)  # (P,)
    scale = 1.0
    if largest_ptr is not None:
        scale = 1.0 / resolution_of(bound_of(largest_ptr, H, W, ACC))
    for c in tl.range(0, C, CK, disable_licm=True):
        grad = scale * load_rows(grad_ptr, row, inside, c, C, 2 * C + 2, CK).to(ACC)  # (P,CK)
        scatter(frame, at, above & before, (1.0 - ry) * (1.0 - rx), grad, c, C, CK)
        scatter(frame, at + 1, above & after, (1.0 - ry) * rx, grad, c, C, CK)
        scatter(frame, at + W, below & before, ry * (1.0 - rx), grad, c, C, CK)
        scatter(frame, at + W + 1, below & after, ry * rx, grad, c, C, CK)


@triton.jit(do_not_specialize=["H", "W", "T", "PAIRS"])
def warp_pairs_bwd_convert_kernel(
    sums_ptr,  # (B*T,H,W,C) int64, or ACC if there is no largest_ptr
    grad_ptr,  # (N,H,W,2C+2)
    dx_ptr,  # (B*T,H,W,C)
    largest_ptr,  # (1,) ACC, or None
    H, W, T, PAIRS,
    C: tl.constexpr, CK: tl.constexpr, P: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Add to the scattered sums of P pixels of one frame its gradients as the frame that neighbours are aligned to."""
    WIDTH: tl.constexpr = 2 * C + 2
    plane = tl.cast(H, tl.int64) * W
    tiles = tl.cdiv(plane, P)
    frame = tl.program_id(0) // tiles
    at = tl.program_id(0) % tiles * P + tl.arange(0, P)  # (P,)
    inside, row = at < plane, frame * plane + at  # (P,)
    t = frame % T
    pair = frame // T * (T - 1) + t  # of direction 0, which aligns frame t+1 to it
    next_row, last_row = pair * plane + at, (PAIRS + pair - 1) * plane + at  # (P,)
    unit = 1.0
    if largest_ptr is not None:
        unit = unit_of(bound_of(largest_ptr, H, W, ACC))
    for c in tl.range(0, C, CK, disable_licm=True):
        total = load_rows(sums_ptr, row, inside, c, C, C, CK).to(ACC) * unit  # (P,CK)
        total += load_rows(grad_ptr + C, next_row, inside & (t < T - 1), c, C, WIDTH, CK).to(ACC)
        total += load_rows(grad_ptr + C, last_row, inside & (t > 0), c, C, WIDTH, CK).to(ACC)
        store_rows(dx_ptr, row, inside, c, C, C, total, CK)
