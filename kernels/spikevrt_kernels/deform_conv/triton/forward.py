"""Forward: tanh, sigmoid, flow, gather and product in one kernel, straight from the predicted offsets."""

import triton
import triton.language as tl

from spikevrt_kernels.core.triton_math import add_dot
from spikevrt_kernels.core.triton_pairs import around, frames_of, load_flow, pixels_of, tiles_of
from spikevrt_kernels.core.triton_tiles import load_vector, store_rows, zero_tiles
from spikevrt_kernels.deform_conv.triton.sampling import load_step_weight, load_tap


@triton.jit
def load_corner(
    at,  # (P,GC) pointers to the first channel of a group
    exists,  # (P,GC)
    E: tl.constexpr, EP: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """The channels of groups at one corner: (P,GC,EP) in ACC, zero outside the image."""
    e = tl.arange(0, EP)[None, None, :]
    return tl.load(at[:, :, None] + e, mask=exists[:, :, None] & (e < E), other=0.0).to(ACC)


@triton.jit
def sample_step(
    frame,  # (H,W,C) pointer
    predicted,  # (P,) pointers to rows of 27G
    y0, x0, inside,  # (P,)
    tap, first, residue, H, W,
    C: tl.constexpr, G: tl.constexpr, EP: tl.constexpr, GC: tl.constexpr, P: tl.constexpr, DOT: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    """What the product of one step multiplies: features between pixels times the gate, (P,GC*EP) in DOT."""
    E: tl.constexpr = C // G
    g = first + tl.arange(0, GC)  # (GC,)
    mask = inside[:, None] & (g < G)[None, :]  # (P,GC)
    sy, sx, _, _, gate = load_tap(predicted, y0, x0, tap, g, mask, residue, G, ACC)  # (P,GC)
    iy, ix, ry, rx, above, below, before, after = around(sy, sx, mask, H, W)  # (P,GC)
    at = frame + (tl.cast(iy * W + ix, tl.int64) * C + (g * E)[None, :])  # (P,GC)
    upper, lower = gate * (1.0 - ry), gate * ry
    value = (upper * (1.0 - rx))[:, :, None] * load_corner(at, above & before, E, EP, ACC)  # (P,GC,EP)
    value += (upper * rx)[:, :, None] * load_corner(at + C, above & after, E, EP, ACC)
    value += (lower * (1.0 - rx))[:, :, None] * load_corner(at + W * C, below & before, E, EP, ACC)
    value += (lower * rx)[:, :, None] * load_corner(at + W * C + C, below & after, E, EP, ACC)
    return tl.reshape(value, (P, GC * EP)).to(DOT)


@triton.jit(do_not_specialize=["H", "W", "T", "PAIRS"])
def deform_conv_fwd_kernel(
    x_ptr,  # (B*T,H,W,C)
    predicted_ptr,  # (N,H,W,27G): [9 taps][dy, dx, mask][G]
    flow_ptr,  # (N,2,H,W) ACC
    weight_ptr,  # (9,C,COUT) DOT
    bias_ptr,  # (COUT,)
    out_ptr,  # (N,H,W,COUT)
    H, W, T, PAIRS, residue,
    C: tl.constexpr, G: tl.constexpr, EP: tl.constexpr, GC: tl.constexpr, COUT: tl.constexpr, NO: tl.constexpr,
    CO: tl.constexpr, P: tl.constexpr, DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Compute NO chunks of CO outputs for P pixels of one pair."""
    BLOCKS: tl.constexpr = (G + GC - 1) // GC
    tiles = tiles_of(H, W, P)
    n = tl.cast(tl.program_id(0) // tiles, tl.int64)
    y, x, inside = pixels_of(tl.program_id(0) % tiles, H, W, P)
    row = n * H * W + y * W + x  # (P,)
    predicted = predicted_ptr + row * (27 * G)  # (P,)
    neighbour, _ = frames_of(n, T, PAIRS)
    frame = x_ptr + neighbour * H * W * C
    y0, x0 = load_flow(flow_ptr, n, y, x, inside, H, W, ACC)  # (P,)
    start = tl.program_id(1) * (NO * CO)
    acc = zero_tiles(NO, P, CO, ACC)  # NO of (P,CO)
    for step in tl.range(0, 9 * BLOCKS, disable_licm=True):
        tap, first = step // BLOCKS, step % BLOCKS * GC
        value = sample_step(frame, predicted, y0, x0, inside, tap, first, residue, H, W, C, G, EP, GC, P, DOT, ACC)
        new = ()
        for j in tl.static_range(NO):
            w = load_step_weight(weight_ptr, tap, first, start + j * CO, C, G, EP, GC, COUT, CO)  # (GC*EP,CO)
            new = new + (add_dot(acc[j], value, w, DOT, ACC),)
        acc = new
    for j in tl.static_range(NO):
        o = start + j * CO
        out = acc[j] + load_vector(bias_ptr, o, COUT, CO, ACC)[None, :]  # (P,CO)
        store_rows(out_ptr, row, inside, o, COUT, COUT, out, CO)
