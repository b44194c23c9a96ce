"""Backward of self-attention without atomics: dq with the sums of ds for the bias, then dk and dv."""

import triton
import triton.language as tl

from spikevrt_kernels.window_attention.triton.gradients import key_gradients, lacking, query_gradient
from spikevrt_kernels.window_attention.triton.tokens import ANY_PLACE, SIZES, extent_of, is_inner, load_rows, store_rows


@triton.constexpr_function
def end_of(first: tl.constexpr, PART: tl.constexpr, KEYS: tl.constexpr) -> tl.constexpr:
    """The tile after a part."""
    return first + PART if first + PART < KEYS else KEYS


@triton.jit
def zero_scores(FIRST: tl.constexpr, LAST: tl.constexpr, OWN: tl.constexpr, PASSING: tl.constexpr, ACC: tl.constexpr):
    """An accumulator (OWN,PASSING) for each of the tiles FIRST .. LAST."""
    tiles = ()
    for _ in tl.static_range(FIRST, LAST):
        tiles = tiles + (tl.zeros((OWN, PASSING), ACC),)
    return tiles


@triton.jit
def walk(
    qkv_ptr,  # (B,D,H,W,WIDTH), of it 3C channels from the pointer on
    offset_ptr,  # (3C,)
    bias_ptr,  # (HEADS,SPAN,SPAN)
    out_ptr,  # (B,D,H,W,OUT_WIDTH), of it C channels from the pointer on
    grad_ptr,  # (B,D,H,W,OUT_WIDTH), as out
    lse_ptr,  # (B,HEADS,D,H,W) ACC
    dqkv_ptr,  # (B,D,H,W,WIDTH), as qkv
    delta_ptr,  # (B,HEADS,D,H,W) ACC, written
    sums,  # tiles (OWN,PASSING) ACC
    dq_sum,  # (OWN,EP) ACC
    start, head, first, windows, splits, size, counts, shift, scale,
    HEADS: tl.constexpr, E: tl.constexpr, EP: tl.constexpr, WIDTH: tl.constexpr, OUT_WIDTH: tl.constexpr,
    WD: tl.constexpr, WH: tl.constexpr, WW: tl.constexpr, TOKENS: tl.constexpr, SPAN: tl.constexpr,
    SHIFTED: tl.constexpr, ADDED: tl.constexpr, INNER: tl.constexpr, OWN: tl.constexpr, PASSING: tl.constexpr,
    FIRST: tl.constexpr, LAST: tl.constexpr, DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Add to dq of a tile of queries what the tiles FIRST .. LAST of keys give, and to the sums, in those of every
    splits-th window that are INNER, or are not.
    """
    rows = tl.cast(size[0] * size[1], tl.int64) * size[2]
    for window in tl.range(first, windows, splits, disable_licm=True):
        batch, extent = extent_of(window, size, counts, shift, WD, WH, WW)
        if is_inner(extent, WD, WH, WW) == INNER:
            at = (batch * HEADS + head) * rows
            dq, sums, row, real, slot, kept, delta = query_gradient(
                qkv_ptr + batch * rows * WIDTH, offset_ptr, bias_ptr, out_ptr + batch * rows * OUT_WIDTH,
                grad_ptr + batch * rows * OUT_WIDTH, lse_ptr + at, delta_ptr + at if FIRST > 0 else None, sums,
                start, 0, extent, (window < windows, first < windows), head, scale,
                HEADS, E, EP, WIDTH, OUT_WIDTH, WH, WW, TOKENS, SPAN, False, SHIFTED, ADDED, INNER, OWN, PASSING,
                FIRST, LAST, DOT, ACC,
            )  # fmt: skip
            if not ADDED:
                dq_sum += dq
            if FIRST > 0:
                dq += load_rows(dqkv_ptr + batch * rows * WIDTH, row, real, head * E, WIDTH, E, EP).to(ACC)
            store_rows(dqkv_ptr + batch * rows * WIDTH, row, real, head * E, dq, WIDTH, E, EP)
            if FIRST == 0:
                tl.store(delta_ptr + at + slot, delta, mask=kept)
    return sums, dq_sum


@triton.jit(do_not_specialize=SIZES, do_not_specialize_on_alignment=ANY_PLACE)
def window_attention_bwd_query_kernel(
    qkv_ptr,  # (B,D,H,W,WIDTH), of it 3C channels from the pointer on
    offset_ptr,  # (3C,)
    bias_ptr,  # (HEADS,SPAN,SPAN)
    out_ptr,  # (B,D,H,W,OUT_WIDTH), of it C channels from the pointer on
    grad_ptr,  # (B,D,H,W,OUT_WIDTH), as out
    lse_ptr,  # (B,HEADS,D,H,W) ACC
    dqkv_ptr,  # (B,D,H,W,WIDTH), as qkv
    delta_ptr,  # (B,HEADS,D,H,W) ACC, written
    ds_ptr,  # (splits,HEADS,TOKENS,TOKENS) ACC, written: sums over every splits-th window
    sums_ptr,  # (splits,tiles,C) ACC, written: sums of dq over the tokens of a tile; None if ADDED
    windows, splits, D, H, W, nD, nH, nW, shift_d, shift_h, shift_w, scale,
    HEADS: tl.constexpr, E: tl.constexpr, EP: tl.constexpr, WIDTH: tl.constexpr, OUT_WIDTH: tl.constexpr,
    WD: tl.constexpr, WH: tl.constexpr, WW: tl.constexpr, TOKENS: tl.constexpr, SPAN: tl.constexpr,
    MUTUAL: tl.constexpr, SHIFTED: tl.constexpr, ADDED: tl.constexpr, OWN: tl.constexpr, PASSING: tl.constexpr,
    PART: tl.constexpr, DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Compute dq of one head and one tile of queries in every splits-th window, and their sums of ds in registers.

    PART tiles of keys at a time: the sums of more would not fit. Their dq is then added to what the tiles before gave.
    """
    TILES: tl.constexpr = (TOKENS + OWN - 1) // OWN
    KEYS: tl.constexpr = (TOKENS + PASSING - 1) // PASSING
    head, tile = tl.program_id(0) % HEADS, tl.program_id(0) // HEADS % TILES
    split = tl.program_id(0) // (HEADS * TILES)
    start, size, counts, shift = tile * OWN, (D, H, W), (nD, nH, nW), (shift_d, shift_h, shift_w)
    query, dq_sum = start + tl.arange(0, OWN), tl.zeros((OWN, EP), ACC)  # (OWN,), (OWN,EP)
    ds = ds_ptr + (tl.cast(split, tl.int64) * HEADS + head) * TOKENS * TOKENS
    for first in tl.static_range(0, KEYS, PART):
        sums = zero_scores(first, end_of(first, PART, KEYS), OWN, PASSING, ACC)
        if first > 0:
            tl.debug_barrier()
        for turn in tl.static_range(2):
            sums, dq_sum = walk(
                qkv_ptr, offset_ptr, bias_ptr, out_ptr, grad_ptr, lse_ptr, dqkv_ptr, delta_ptr, sums, dq_sum,
                start, head, split, windows, splits, size, counts, shift, scale, HEADS, E, EP, WIDTH, OUT_WIDTH,
                WD, WH, WW, TOKENS, SPAN, SHIFTED, ADDED, turn == 0, OWN, PASSING,
                first, end_of(first, PART, KEYS), DOT, ACC,
            )  # fmt: skip
        for i in tl.static_range(first, end_of(first, PART, KEYS)):
            key = i * PASSING + tl.arange(0, PASSING)  # (PASSING,)
            inside = (query < TOKENS)[:, None] & (key < TOKENS)[None, :]
            tl.store(ds + query[:, None] * TOKENS + key[None, :], sums[i - first], mask=inside)
    if not ADDED:
        c = tl.arange(0, EP)
        row = sums_ptr + (split * TILES + tile) * (HEADS * E) + head * E
        tl.store(row + c, tl.sum(dq_sum, 0), mask=c < E)


@triton.jit
def window_keys(
    qkv,  # (D*H*W,WIDTH) of a clip
    offset_ptr,  # (3C,)
    bias_ptr,  # (HEADS,SPAN,SPAN)
    grad,  # (D*H*W,OUT_WIDTH) of a clip
    lse,  # (D*H*W,) ACC of a head
    deltas,  # (D*H*W,) ACC of a head
    dqkv,  # (D*H*W,WIDTH), as qkv
    sums,  # (3C,) ACC of a window, of which those of k and v are written
    extent, head, scale,
    HEADS: tl.constexpr, E: tl.constexpr, EP: tl.constexpr, WIDTH: tl.constexpr, OUT_WIDTH: tl.constexpr,
    WH: tl.constexpr, WW: tl.constexpr, TOKENS: tl.constexpr, SPAN: tl.constexpr, SHIFTED: tl.constexpr,
    ADDED: tl.constexpr, INNER: tl.constexpr, OWN: tl.constexpr, PASSING: tl.constexpr, DOT: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    """dk and dv of one head of one window."""
    C: tl.constexpr = HEADS * E
    sum_k, sum_v = tl.zeros((OWN, EP), ACC), tl.zeros((OWN, EP), ACC)  # (OWN,EP)
    for start in tl.range(0, TOKENS, OWN, disable_licm=True):
        dk, dv, row, real = key_gradients(
            qkv, offset_ptr, bias_ptr, None, grad, lse, deltas, start, 0, extent, head, scale, HEADS, E, EP, WIDTH,
            OUT_WIDTH, WH, WW, TOKENS, SPAN, False, SHIFTED, ADDED, INNER, OWN, PASSING, DOT, ACC,
        )  # fmt: skip
        store_rows(dqkv, row, real, C + head * E, dk, WIDTH, E, EP)
        store_rows(dqkv, row, real, 2 * C + head * E, dv, WIDTH, E, EP)
        sum_k += lacking(dk, real, ADDED)
        sum_v += lacking(dv, real, ADDED)
    c = tl.arange(0, EP)
    tl.store(sums + head * E + c, tl.sum(sum_k, 0), mask=c < E)
    tl.store(sums + C + head * E + c, tl.sum(sum_v, 0), mask=c < E)


@triton.jit(do_not_specialize=SIZES, do_not_specialize_on_alignment=ANY_PLACE)
def window_attention_bwd_key_kernel(
    qkv_ptr,  # (B,D,H,W,WIDTH), of it 3C channels from the pointer on
    offset_ptr,  # (3C,)
    bias_ptr,  # (HEADS,SPAN,SPAN)
    grad_ptr,  # (B,D,H,W,OUT_WIDTH), of it C channels from the pointer on
    lse_ptr,  # (B,HEADS,D,H,W) ACC
    dqkv_ptr,  # (B,D,H,W,WIDTH), as qkv
    delta_ptr,  # (B,HEADS,D,H,W) ACC
    sums_ptr,  # (windows,2C) ACC, written: sums of dk and dv over the tokens of a window that get the offset here
    D, H, W, nD, nH, nW, shift_d, shift_h, shift_w, scale,
    HEADS: tl.constexpr, E: tl.constexpr, EP: tl.constexpr, WIDTH: tl.constexpr, OUT_WIDTH: tl.constexpr,
    WD: tl.constexpr, WH: tl.constexpr, WW: tl.constexpr, TOKENS: tl.constexpr, SPAN: tl.constexpr,
    MUTUAL: tl.constexpr, SHIFTED: tl.constexpr, ADDED: tl.constexpr, OWN: tl.constexpr, PASSING: tl.constexpr,
    DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Compute dk and dv of one head of one window."""
    head, window = tl.program_id(0) % HEADS, tl.program_id(0) // HEADS
    batch, extent = extent_of(window, (D, H, W), (nD, nH, nW), (shift_d, shift_h, shift_w), WD, WH, WW)
    rows = tl.cast(D * H, tl.int64) * W
    qkv, dqkv = qkv_ptr + batch * rows * WIDTH, dqkv_ptr + batch * rows * WIDTH
    grad, at = grad_ptr + batch * rows * OUT_WIDTH, (batch * HEADS + head) * rows
    sums = sums_ptr + tl.cast(window, tl.int64) * (2 * HEADS * E)
    if is_inner(extent, WD, WH, WW):
        window_keys(
            qkv, offset_ptr, bias_ptr, grad, lse_ptr + at, delta_ptr + at, dqkv, sums, extent, head, scale, HEADS, E,
            EP, WIDTH, OUT_WIDTH, WH, WW, TOKENS, SPAN, SHIFTED, ADDED, True, OWN, PASSING, DOT, ACC,
        )  # fmt: skip
    else:
        window_keys(
            qkv, offset_ptr, bias_ptr, grad, lse_ptr + at, delta_ptr + at, dqkv, sums, extent, head, scale, HEADS, E,
            EP, WIDTH, OUT_WIDTH, WH, WW, TOKENS, SPAN, SHIFTED, ADDED, False, OWN, PASSING, DOT, ACC,
        )  # fmt: skip
