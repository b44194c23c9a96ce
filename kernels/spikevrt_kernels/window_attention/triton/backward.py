"""Backward of window attention: dq, dk, dv from lse, and sums for the gradients of the offsets, without atomics.

With p = exp(scores - lse) and delta = sum(dout * out): ds = p (dout v^T - delta); dq = scale ds k;
dk = scale ds^T q; dv = p^T dout. Padding slots have no output; their lse is set to infinity, so that p = 0.
"""

import triton
import triton.language as tl

from spikevrt_kernels.core.triton_math import add_dot
from spikevrt_kernels.window_attention.triton.tokens import (
    ANY_PLACE,
    SIZES,
    extent_of,
    load_bias,
    load_keys,
    load_queries,
    load_rows,
    scores_of,
    store_rows,
)


@triton.jit
def load_gradient(
    out,  # (D*H*W,OUT_WIDTH) of a clip
    grad,  # (D*H*W,OUT_WIDTH), as out
    lse,  # (D*H*W,) ACC of a head
    slot,  # (T,)
    kept,  # (T,)
    head,
    OUT_WIDTH: tl.constexpr, E: tl.constexpr, EP: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Load dout (T,EP), lse (T,) and delta (T,) of a tile of slots."""
    do = load_rows(grad, slot, kept, head * E, OUT_WIDTH, E, EP)  # (T,EP)
    o = load_rows(out, slot, kept, head * E, OUT_WIDTH, E, EP)
    sums = tl.load(lse + slot, mask=kept, other=float("inf"))
    return do, sums, tl.sum(do.to(ACC) * o.to(ACC), 1)


@triton.jit
def query_gradient(
    qkv,  # (D*H*W,WIDTH) of a clip
    offset_ptr,  # (3C,), or (TOKENS,3C) in mutual attention
    table_ptr,  # ((2BD-1)*(2BH-1)*(2BW-1),HEADS), or None in mutual attention
    out,  # (D*H*W,OUT_WIDTH) of a clip
    grad,  # (D*H*W,OUT_WIDTH), as out
    lse,  # (D*H*W,) ACC of a head
    start, frame, extent, head, scale,
    HEADS: tl.constexpr, E: tl.constexpr, EP: tl.constexpr, WIDTH: tl.constexpr, OUT_WIDTH: tl.constexpr,
    WH: tl.constexpr, WW: tl.constexpr, BD: tl.constexpr, BH: tl.constexpr, BW: tl.constexpr, TOKENS: tl.constexpr,
    MUTUAL: tl.constexpr, SHIFTED: tl.constexpr, OWN: tl.constexpr, PASSING: tl.constexpr, DOT: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    """dq (OWN,EP) of the queries start .. start+OWN; their rows, and whether they are real; delta of their slots."""
    query = start + tl.arange(0, OWN)  # (OWN,)
    q, region_q, row, real, slot, kept = load_queries(
        qkv, offset_ptr, query, frame, extent, head,
        HEADS, E, EP, WIDTH, WH, WW, TOKENS, MUTUAL, SHIFTED, DOT, ACC,
    )  # fmt: skip
    do, sums, delta = load_gradient(out, grad, lse, slot, kept, head, OUT_WIDTH, E, EP, ACC)  # (.,EP), (.,), (.,)
    dq = tl.zeros((OWN, EP), ACC)  # (OWN,EP)
    for key_start in tl.range(0, TOKENS, PASSING, disable_licm=True):
        key = key_start + tl.arange(0, PASSING)  # (PASSING,)
        k, v, region_k, _at, _there = load_keys(
            qkv, offset_ptr, key, frame, extent, head, HEADS, E, EP, WIDTH, WH, WW, TOKENS, MUTUAL, SHIFTED, DOT, ACC
        )
        bias = load_bias(table_ptr, query, key, head, HEADS, BD, BH, BW, TOKENS, False, MUTUAL, ACC)
        scores = scores_of(  # (OWN,PASSING)
            q, k, bias, query, key, region_q, region_k, scale, TOKENS, OWN, PASSING, False, SHIFTED, DOT, ACC
        )
        dp = add_dot(tl.zeros((OWN, PASSING), ACC), do, tl.trans(v), DOT, ACC)  # (OWN,PASSING)
        ds = tl.exp(scores - sums[:, None]) * (dp - delta[:, None])
        dq = add_dot(dq, ds, k, DOT, ACC)
    return dq * scale, row, real, delta, slot, kept


@triton.jit
def key_gradients(
    qkv,  # (D*H*W,WIDTH) of a clip
    offset_ptr,  # (3C,), or (TOKENS,3C) in mutual attention
    table_ptr,  # ((2BD-1)*(2BH-1)*(2BW-1),HEADS), or None in mutual attention
    out,  # (D*H*W,OUT_WIDTH) of a clip
    grad,  # (D*H*W,OUT_WIDTH), as out
    lse,  # (D*H*W,) ACC of a head
    start, frame, extent, head, scale,
    HEADS: tl.constexpr, E: tl.constexpr, EP: tl.constexpr, WIDTH: tl.constexpr, OUT_WIDTH: tl.constexpr,
    WH: tl.constexpr, WW: tl.constexpr, BD: tl.constexpr, BH: tl.constexpr, BW: tl.constexpr, TOKENS: tl.constexpr,
    MUTUAL: tl.constexpr, SHIFTED: tl.constexpr, OWN: tl.constexpr, PASSING: tl.constexpr, DOT: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    """dk, dv (OWN,EP) of the keys start .. start+OWN; their rows, and whether they are real."""
    key = start + tl.arange(0, OWN)  # (OWN,)
    k, v, region_k, row, real = load_keys(
        qkv, offset_ptr, key, frame, extent, head, HEADS, E, EP, WIDTH, WH, WW, TOKENS, MUTUAL, SHIFTED, DOT, ACC
    )
    dk, dv = tl.zeros((OWN, EP), ACC), tl.zeros((OWN, EP), ACC)  # (OWN,EP)
    for query_start in tl.range(0, TOKENS, PASSING, disable_licm=True):
        query = query_start + tl.arange(0, PASSING)  # (PASSING,)
        q, region_q, _row, _real, slot, kept = load_queries(
            qkv, offset_ptr, query, frame, extent, head,
            HEADS, E, EP, WIDTH, WH, WW, TOKENS, MUTUAL, SHIFTED, DOT, ACC,
        )  # fmt: skip
        do, sums, delta = load_gradient(out, grad, lse, slot, kept, head, OUT_WIDTH, E, EP, ACC)  # (.,EP), (.,), (.,)
        # Keys are the rows here, so that no product has to transpose its large input.
        bias = load_bias(table_ptr, key, query, head, HEADS, BD, BH, BW, TOKENS, True, MUTUAL, ACC)
        scores = scores_of(  # (OWN,PASSING)
            k, q, bias, key, query, region_k, region_q, scale, TOKENS, OWN, PASSING, True, SHIFTED, DOT, ACC
        )
        p = tl.exp(scores - sums[None, :])
        dv = add_dot(dv, p, do, DOT, ACC)
        dp = add_dot(tl.zeros((OWN, PASSING), ACC), v, tl.trans(do), DOT, ACC)  # (OWN,PASSING)
        dk = add_dot(dk, p * (dp - delta[None, :]), q, DOT, ACC)
    return dk * scale, dv, row, real


@triton.jit(do_not_specialize=SIZES, do_not_specialize_on_alignment=ANY_PLACE)
def window_attention_bwd_kernel(
    qkv_ptr,  # (B,D,H,W,WIDTH), of it 3C channels from the pointer on
    offset_ptr,  # (3C,)
    table_ptr,  # ((2BD-1)*(2BH-1)*(2BW-1),HEADS)
    out_ptr,  # (B,D,H,W,OUT_WIDTH), of it C channels from the pointer on
    grad_ptr,  # (B,D,H,W,OUT_WIDTH), as out
    lse_ptr,  # (B,HEADS,D,H,W) ACC
    dqkv_ptr,  # (B,D,H,W,WIDTH), as qkv
    delta_ptr,  # (B,HEADS,D,H,W) ACC, written
    sums_ptr,  # (windows,3C) ACC: sums over the tokens of a window, padding included
    D, H, W, nD, nH, nW, shift_d, shift_h, shift_w, scale,
    HEADS: tl.constexpr, E: tl.constexpr, EP: tl.constexpr, WIDTH: tl.constexpr, OUT_WIDTH: tl.constexpr,
    WD: tl.constexpr, WH: tl.constexpr, WW: tl.constexpr, BD: tl.constexpr, BH: tl.constexpr, BW: tl.constexpr,
    TOKENS: tl.constexpr, MUTUAL: tl.constexpr, SHIFTED: tl.constexpr, OWN: tl.constexpr, PASSING: tl.constexpr,
    DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Compute dq, dk, dv of one head of one window of self-attention."""
    C: tl.constexpr = HEADS * E
    head, window = tl.program_id(0) % HEADS, tl.program_id(0) // HEADS
    batch, extent = extent_of(window, (D, H, W), (nD, nH, nW), (shift_d, shift_h, shift_w), WD, WH, WW)
    rows = tl.cast(D * H, tl.int64) * W
    qkv, dqkv = qkv_ptr + batch * rows * WIDTH, dqkv_ptr + batch * rows * WIDTH
    out, grad = out_ptr + batch * rows * OUT_WIDTH, grad_ptr + batch * rows * OUT_WIDTH
    lse, deltas = lse_ptr + (batch * HEADS + head) * rows, delta_ptr + (batch * HEADS + head) * rows
    sum_q, sum_k, sum_v = tl.zeros((EP,), ACC), tl.zeros((EP,), ACC), tl.zeros((EP,), ACC)  # (EP,)
    for start in tl.range(0, TOKENS, OWN, disable_licm=True):
        dq, row, real, delta, slot, kept = query_gradient(
            qkv, offset_ptr, table_ptr, out, grad, lse, start, 0, extent, head, scale, HEADS, E, EP, WIDTH, OUT_WIDTH,
            WH, WW, BD, BH, BW, TOKENS, MUTUAL, SHIFTED, OWN, PASSING, DOT, ACC,
        )  # fmt: skip
        store_rows(dqkv, row, real, head * E, dq, WIDTH, E, EP)
        tl.store(deltas + slot, delta, mask=kept)
        sum_q += tl.sum(dq, 0)
    for start in tl.range(0, TOKENS, OWN, disable_licm=True):
        dk, dv, row, real = key_gradients(
            qkv, offset_ptr, table_ptr, out, grad, lse, start, 0, extent, head, scale, HEADS, E, EP, WIDTH, OUT_WIDTH,
            WH, WW, BD, BH, BW, TOKENS, MUTUAL, SHIFTED, OWN, PASSING, DOT, ACC,
        )  # fmt: skip
        store_rows(dqkv, row, real, C + head * E, dk, WIDTH, E, EP)
        store_rows(dqkv, row, real, 2 * C + head * E, dv, WIDTH, E, EP)
        sum_k += tl.sum(dk, 0)
        sum_v += tl.sum(dv, 0)
    c = tl.arange(0, EP)
    sums = sums_ptr + tl.cast(window, tl.int64) * (3 * C) + head * E + c
    tl.store(sums, sum_q, mask=c < E)
    tl.store(sums + C, sum_k, mask=c < E)
    tl.store(sums + 2 * C, sum_v, mask=c < E)


@triton.jit(do_not_specialize=SIZES, do_not_specialize_on_alignment=ANY_PLACE)
def window_attention_bwd_mutual_kernel(
    qkv_ptr,  # (B,D,H,W,WIDTH), of it 3C channels from the pointer on
    offset_ptr,  # (TOKENS,3C)
    table_ptr,  # None
    out_ptr,  # (B,D,H,W,OUT_WIDTH), of it C channels from the pointer on
    grad_ptr,  # (B,D,H,W,OUT_WIDTH), as out
    lse_ptr,  # (B,HEADS,D,H,W) ACC
    dqkv_ptr,  # (B,D,H,W,WIDTH), as qkv
    sums_ptr,  # (splits,TOKENS,3C) ACC: sums over the frames of every splits-th window, padding included
    windows, splits, D, H, W, nD, nH, nW, shift_d, shift_h, shift_w, scale,
    HEADS: tl.constexpr, E: tl.constexpr, EP: tl.constexpr, WIDTH: tl.constexpr, OUT_WIDTH: tl.constexpr,
    WD: tl.constexpr, WH: tl.constexpr, WW: tl.constexpr, BD: tl.constexpr, BH: tl.constexpr, BW: tl.constexpr,
    TOKENS: tl.constexpr, MUTUAL: tl.constexpr, SHIFTED: tl.constexpr, OWN: tl.constexpr, PASSING: tl.constexpr,
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
        dq, row, real, _delta, _slot, _kept = query_gradient(
            qkv, offset_ptr, table_ptr, out, grad, lse, start, frame, extent, head, scale, HEADS, E, EP, WIDTH,
            OUT_WIDTH, WH, WW, BD, BH, BW, TOKENS, MUTUAL, SHIFTED, OWN, PASSING, DOT, ACC,
        )  # fmt: skip
        store_rows(dqkv, row, real, head * E, dq, WIDTH, E, EP)
        sum_q += dq
        dk, dv, row, real = key_gradients(
            qkv, offset_ptr, table_ptr, out, grad, lse, start, frame, extent, head, scale, HEADS, E, EP, WIDTH,
            OUT_WIDTH, WH, WW, BD, BH, BW, TOKENS, MUTUAL, SHIFTED, OWN, PASSING, DOT, ACC,
        )  # fmt: skip
        store_rows(dqkv, row, real, C + head * E, dk, WIDTH, E, EP)
        store_rows(dqkv, row, real, 2 * C + head * E, dv, WIDTH, E, EP)
        sum_k += dk
        sum_v += dv
    place = start + tl.arange(0, OWN)  # (OWN,)
    sums = sums_ptr + tl.cast(split, tl.int64) * TOKENS * (3 * C)
    row = tl.cast(place, tl.int64)
    store_rows(sums, row, place < TOKENS, head * E, sum_q, 3 * C, E, EP)
    store_rows(sums, row, place < TOKENS, C + head * E, sum_k, 3 * C, E, EP)
    store_rows(sums, row, place < TOKENS, 2 * C + head * E, sum_v, 3 * C, E, EP)
