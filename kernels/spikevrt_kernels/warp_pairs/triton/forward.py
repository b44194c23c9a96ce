"""Forward: one kernel warps the neighbours and writes them beside frame and flow."""

import triton
import triton.language as tl

from spikevrt_kernels.core.triton_pairs import around, frames_of, load_flow, pixels_of, tiles_of
from spikevrt_kernels.core.triton_tiles import load_rows, store_rows


@triton.jit
def load_corners(
    frame,  # (H,W,C) pointer
    at,  # (P,) int64: the pixel above and left of positions
    above, below, before, after,  # (P,)
    c, W,
    C: tl.constexpr, CK: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Channels c .. c+CK of the four pixels around positions, row by row: (P,CK) each in ACC, zero outside."""
    return (
        load_rows(frame, at, above & before, c, C, C, CK).to(ACC),
        load_rows(frame, at + 1, above & after, c, C, C, CK).to(ACC),
        load_rows(frame, at + W, below & before, c, C, C, CK).to(ACC),
        load_rows(frame, at + W + 1, below & after, c, C, C, CK).to(ACC),
    )


@triton.jit(do_not_specialize=["H", "W", "T", "PAIRS"])
def warp_pairs_fwd_kernel(
    x_ptr,  # (B*T,H,W,C)
    flow_ptr,  # (N,2,H,W) ACC
    out_ptr,  # (N,H,W,2C+2)
    H, W, T, PAIRS,
    C: tl.constexpr, CK: tl.constexpr, P: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Write the channels of P pixels of one pair: C of the neighbour between its pixels, C of the frame, the flow."""
    WIDTH: tl.constexpr = 2 * C + 2
    tiles, plane = tiles_of(H, W, P), tl.cast(H, tl.int64) * W
    n = tl.cast(tl.program_id(0) // tiles, tl.int64)
    y, x, inside = pixels_of(tl.program_id(0) % tiles, H, W, P)
    here = tl.cast(y * W + x, tl.int64)  # (P,)
    row = n * plane + here  # (P,)
    neighbour, current = frames_of(n, T, PAIRS)
    neighbour_ptr, current_ptr = x_ptr + neighbour * plane * C, x_ptr + current * plane * C
    sy, sx = load_flow(flow_ptr, n, y, x, inside, H, W, ACC)  # (P,)
    iy, ix, ry, rx, above, below, before, after = around(sy, sx, inside, H, W)  # (P,)
    at = tl.cast(iy * W + ix, tl.int64)  # (P,)
    ry, rx = ry[:, None], rx[:, None]  # (P,1)
    for c in tl.range(0, C, CK, disable_licm=True):
        a, b, d, e = load_corners(neighbour_ptr, at, above, below, before, after, c, W, C, CK, ACC)  # (P,CK)
        upper, lower = a + rx * (b - a), d + rx * (e - d)
        store_rows(out_ptr, row, inside, c, C, WIDTH, upper + ry * (lower - upper), CK)
        store_rows(out_ptr + C, row, inside, c, C, WIDTH, load_rows(current_ptr, here, inside, c, C, C, CK), CK)
    last = out_ptr + row * WIDTH + 2 * C  # (P,)
    flow = flow_ptr + 2 * n * plane + here  # (P,)
    for axis in tl.static_range(2):
        flowing = tl.load(flow + axis * plane, mask=inside, other=0.0)  # (P,)
        tl.store(last + axis, flowing.to(out_ptr.dtype.element_ty), mask=inside)
