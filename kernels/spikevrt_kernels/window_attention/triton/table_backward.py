"""Gradient of the bias table, deterministic: ds is summed over windows in registers, then over pairs of one offset."""

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
)


@triton.jit(do_not_specialize=SIZES, do_not_specialize_on_alignment=ANY_PLACE)
def window_attention_bwd_bias_kernel(
    qkv_ptr,  # (B,D,H,W,WIDTH), of it 3C channels from the pointer on
    offset_ptr,  # (3C,)
    table_ptr,  # ((2BD-1)*(2BH-1)*(2BW-1),HEADS)
    grad_ptr,  # (B,D,H,W,OUT_WIDTH), of it C channels from the pointer on
    lse_ptr,  # (B,HEADS,D,H,W) ACC
    delta_ptr,  # (B,HEADS,D,H,W) ACC: sums of dout * out over a head's channels
    ds_ptr,  # (splits,HEADS,TOKENS,TOKENS) ACC: sums over every splits-th window
    windows, splits, D, H, W, nD, nH, nW, shift_d, shift_h, shift_w, scale,
    HEADS: tl.constexpr, E: tl.constexpr, EP: tl.constexpr, WIDTH: tl.constexpr, OUT_WIDTH: tl.constexpr,
    WD: tl.constexpr, WH: tl.constexpr, WW: tl.constexpr, BD: tl.constexpr, BH: tl.constexpr, BW: tl.constexpr,
    TOKENS: tl.constexpr, MUTUAL: tl.constexpr, SHIFTED: tl.constexpr, OWN: tl.constexpr, PASSING: tl.constexpr,
    DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Sum ds of one head for OWN queries and PASSING keys; their bias also stays in registers."""
    QUERIES: tl.constexpr = (TOKENS + OWN - 1) // OWN
    KEYS: tl.constexpr = (TOKENS + PASSING - 1) // PASSING
    head, pair = tl.program_id(0) % HEADS, tl.program_id(0) // HEADS % (QUERIES * KEYS)
    split = tl.program_id(0) // (HEADS * QUERIES * KEYS)
    query, key = pair // KEYS * OWN + tl.arange(0, OWN), pair % KEYS * PASSING + tl.arange(0, PASSING)
    rows = tl.cast(D * H, tl.int64) * W
    bias = load_bias(table_ptr, query, key, head, HEADS, BD, BH, BW, TOKENS, False, MUTUAL, ACC)
    sums = tl.zeros((OWN, PASSING), ACC)  # (OWN,PASSING)
    for window in tl.range(split, windows, splits, disable_licm=True):
        batch, extent = extent_of(window, (D, H, W), (nD, nH, nW), (shift_d, shift_h, shift_w), WD, WH, WW)
        qkv, grad = qkv_ptr + batch * rows * WIDTH, grad_ptr + batch * rows * OUT_WIDTH
        q, region_q, _row, _real, slot, kept = load_queries(
            qkv, offset_ptr, query, 0, extent, head, HEADS, E, EP, WIDTH, WH, WW, TOKENS, MUTUAL, SHIFTED, DOT, ACC
        )
        k, v, region_k, _at, _there = load_keys(
            qkv, offset_ptr, key, 0, extent, head, HEADS, E, EP, WIDTH, WH, WW, TOKENS, MUTUAL, SHIFTED, DOT, ACC
        )
        do = load_rows(grad, slot, kept, head * E, OUT_WIDTH, E, EP)  # (OWN,EP)
        at = (batch * HEADS + head) * rows + slot
        total = tl.load(lse_ptr + at, mask=kept, other=float("inf"))
        delta = tl.load(delta_ptr + at, mask=kept, other=0.0)
        scores = scores_of(  # (OWN,PASSING)
            q, k, bias, query, key, region_q, region_k, scale, TOKENS, OWN, PASSING, False, SHIFTED, DOT, ACC
        )
        dp = add_dot(tl.zeros((OWN, PASSING), ACC), do, tl.trans(v), DOT, ACC)
        sums += tl.exp(scores - total[:, None]) * (dp - delta[:, None])
    ds = ds_ptr + (tl.cast(split, tl.int64) * HEADS + head) * TOKENS * TOKENS
    inside = (query < TOKENS)[:, None] & (key < TOKENS)[None, :]
    tl.store(ds + query[:, None] * TOKENS + key[None, :], sums, mask=inside)


@triton.jit(do_not_specialize=SIZES)
def window_attention_bwd_table_kernel(
    ds_ptr,  # (HEADS,TOKENS,TOKENS)
    dtable_ptr,  # (rows,HEADS)
    rows,
    HEADS: tl.constexpr, BD: tl.constexpr, BH: tl.constexpr, BW: tl.constexpr, TOKENS: tl.constexpr, OWN: tl.constexpr,
    PASSING: tl.constexpr,
):  # fmt: skip
    """Compute OWN rows of dtable for one head: the sum of ds over all queries and the key at each row's offset."""
    row = tl.program_id(0) * OWN + tl.arange(0, OWN)  # (OWN,)
    head = tl.program_id(1)
    d = row // ((2 * BH - 1) * (2 * BW - 1)) - (BD - 1)
    h, w = row // (2 * BW - 1) % (2 * BH - 1) - (BH - 1), row % (2 * BW - 1) - (BW - 1)
    ds = ds_ptr + tl.cast(head, tl.int64) * TOKENS * TOKENS
    total = tl.zeros((OWN,), ds_ptr.dtype.element_ty)
    for start in tl.range(0, TOKENS, PASSING, disable_licm=True):
        query = start + tl.arange(0, PASSING)  # (PASSING,)
        key_d = (query // (BH * BW))[None, :] - d[:, None]  # (OWN,PASSING)
        key_h, key_w = (query // BW % BH)[None, :] - h[:, None], (query % BW)[None, :] - w[:, None]
        key = (key_d * BH + key_h) * BW + key_w
        inside = (key_d >= 0) & (key_h >= 0) & (key_h < BH) & (key_w >= 0) & (key_w < BW) & (key < TOKENS)
        inside &= (query < TOKENS)[None, :] & (row < rows)[:, None]
        total += tl.sum(tl.load(ds + query[None, :] * TOKENS + key, mask=inside, other=0.0), 1)
    tl.store(dtable_ptr + row * HEADS + head, total.to(dtable_ptr.dtype.element_ty), mask=row < rows)
