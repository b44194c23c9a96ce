"""Forward: tanh, sigmoid, flow, gather and product in one kernel, straight from the predicted offsets."""

import triton
import triton.language as tl

from spikevrt_kernels.core.triton_math import add_dot
from spikevrt_kernels.core.triton_pairs import frames_of, load_flow, pixels_of, tiles_of
from spikevrt_kernels.core.triton_tiles import load_vector, store_rows, zero_tiles
from spikevrt_kernels.deform_conv.triton.sampling import load_step_weight, sample_step


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
