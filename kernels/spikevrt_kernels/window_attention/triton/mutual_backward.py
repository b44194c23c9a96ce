"""Backward of mutual attention without atomics; each frame is a tile or a few, so dq, dk and dv are of one kernel."""

import triton
import triton.language as tl

from spikevrt_kernels.window_attention.triton.gradients import key_gradients, lacking, query_gradient
from spikevrt_kernels.window_attention.triton.tokens import ANY_PLACE, SIZES, extent_of, is_inner, store_rows


@triton.jit
def frame_gradients(
    qkv,  # (D*H*W,WIDTH) of a clip
    offset_ptr,  # (TOKENS,3C)
    bias_ptr,  # None
    out,  # (D*H*W,OUT_WIDTH) of a clip
    grad,  # (D*H*W,OUT_WIDTH), as out
    lse,  # (D*H*W,) ACC of a head
    dqkv,  # (D*H*W,WIDTH), as qkv
    start, frame, extent, head, scale,
    HEADS: tl.constexpr, E: tl.constexpr, EP: tl.constexpr, WIDTH: tl.constexpr, OUT_WIDTH: tl.constexpr,
    WH: tl.constexpr, WW: tl.constexpr, TOKENS: tl.constexpr, SHIFTED: tl.constexpr, ADDED: tl.constexpr,
    INNER: tl.constexpr, OWN: tl.constexpr, PASSING: tl.constexpr, DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Write dq, dk, dv of the places start .. start+OWN of a frame; those that get the offset here (OWN,EP), each."""
    C: tl.constexpr = HEADS * E
    dq, _sums, row, real, _slot, _kept, _delta = query_gradient(
        qkv, offset_ptr, bias_ptr, out, grad, lse, None, (), start, frame, extent, (True, True), head, scale, HEADS, E,
        EP, WIDTH, OUT_WIDTH, WH, WW, TOKENS, 0, True, SHIFTED, ADDED, INNER, OWN, PASSING,
        0, (TOKENS + PASSING - 1) // PASSING, DOT, ACC,
    )  # fmt: skip
    store_rows(dqkv, row, real, head * E, dq, WIDTH, E, EP)
    dq = lacking(dq, real, ADDED)
    dk, dv, row, real = key_gradients(
        qkv, offset_ptr, bias_ptr, out, grad, lse, None, start, frame, extent, head, scale, HEADS, E, EP, WIDTH,
        OUT_WIDTH, WH, WW, TOKENS, 0, True, SHIFTED, ADDED, INNER, OWN, PASSING, DOT, ACC,
    )  # fmt: skip
    store_rows(dqkv, row, real, C + head * E, dk, WIDTH, E, EP)
    store_rows(dqkv, row, real, 2 * C + head * E, dv, WIDTH, E, EP)
    return dq, lacking(dk, real, ADDED), lacking(dv, real, ADDED)


@triton.jit(do_not_specialize=SIZES, do_not_specialize_on_alignment=ANY_PLACE)
def window_attention_bwd_mutual_kernel(
    qkv_ptr,  # (B,D,H,W,WIDTH), of it 3C channels from the pointer on
    offset_ptr,  # (TOKENS,3C)
    bias_ptr,  # None
    out_ptr,  # (B,D,H,W,OUT_WIDTH), of it C channels from the pointer on
    grad_ptr,  # (B,D,H,W,OUT_WIDTH), as out
    lse_ptr,  # (B,HEADS,D,H,W) ACC
    dqkv_ptr,  # (B,D,H,W,WIDTH), as qkv
    sums_ptr,  # (splits,TOKENS,3C) ACC: sums over every splits-th window of the tokens that get it here
    windows, splits, D, H, W, nD, nH, nW, shift_d, shift_h, shift_w, scale,
    HEADS: tl.constexpr, E: tl.constexpr, EP: tl.constexpr, WIDTH: tl.constexpr, OUT_WIDTH: tl.constexpr,
    WD: tl.constexpr, WH: tl.constexpr, WW: tl.constexpr, TOKENS: tl.constexpr, SPAN: tl.constexpr,
    MUTUAL: tl.constexpr, SHIFTED: tl.constexpr, ADDED: tl.constexpr, OWN: tl.constexpr, PASSING: tl.constexpr,
    DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Compute dq, dk, dv of one head and one tile of a frame's places, in every splits-th window."""
    C: tl.constexpr = HEADS * E
    TILES: tl.constexpr = (TOKENS + OWN - 1) // OWN
    head, tile = tl.program_id(0) % HEADS, tl.program_id(0) // HEADS % TILES
    split = tl.program_id(0) // (HEADS * TILES)
    start = tile * OWN
    rows = tl.cast(D * H, tl.int64) * W
    sum_q, sum_k, sum_v = tl.zeros((OWN, EP), ACC), tl.zeros((OWN, EP), ACC), tl.zeros((OWN, EP), ACC)  # (OWN,EP)
    for step in tl.range(split, 2 * windows, splits, disable_licm=True):
        frame, window = step // windows, step % windows
        batch, extent = extent_of(window, (D, H, W), (nD, nH, nW), (shift_d, shift_h, shift_w), WD, WH, WW)
        qkv, dqkv = qkv_ptr + batch * rows * WIDTH, dqkv_ptr + batch * rows * WIDTH
        out, grad = out_ptr + batch * rows * OUT_WIDTH, grad_ptr + batch * rows * OUT_WIDTH
        lse = lse_ptr + (batch * HEADS + head) * rows
        if is_inner(extent, WD, WH, WW):
            dq, dk, dv = frame_gradients(
                qkv, offset_ptr, bias_ptr, out, grad, lse, dqkv, start, frame, extent, head, scale, HEADS, E, EP, WIDTH,
                OUT_WIDTH, WH, WW, TOKENS, SHIFTED, ADDED, True, OWN, PASSING, DOT, ACC,
            )  # fmt: skip
        else:
            dq, dk, dv = frame_gradients(
                qkv, offset_ptr, bias_ptr, out, grad, lse, dqkv, start, frame, extent, head, scale, HEADS, E, EP, WIDTH,
                OUT_WIDTH, WH, WW, TOKENS, SHIFTED, ADDED, False, OWN, PASSING, DOT, ACC,
            )  # fmt: skip
        sum_q, sum_k, sum_v = sum_q + dq, sum_k + dk, sum_v + dv
    place = start + tl.arange(0, OWN)  # (OWN,)
    sums = sums_ptr + tl.cast(split, tl.int64) * TOKENS * (3 * C)
    row = tl.cast(place, tl.int64)
    store_rows(sums, row, place < TOKENS, head * E, sum_q, 3 * C, E, EP)
    store_rows(sums, row, place < TOKENS, C + head * E, sum_k, 3 * C, E, EP)
    store_rows(sums, row, place < TOKENS, 2 * C + head * E, sum_v, 3 * C, E, EP)
