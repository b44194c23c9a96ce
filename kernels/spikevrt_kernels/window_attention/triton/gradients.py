"""Gradients of one tile of queries or keys of a window, from the logs of the softmax's sums.

With p = exp2(scores - lse) and delta = sum(dout * out): ds = p (dout v^T - delta); dq = scale ds k;
dk = scale ds^T q; dv = p^T dout. Padding slots have no output; their lse is set to infinity, so that p = 0. `scale` is
times log2(e), as in q: what is a sum of ds is multiplied by ln(2).
"""

import triton
import triton.language as tl

from spikevrt_kernels.core.triton_math import add_dot
from spikevrt_kernels.window_attention.triton.scores import load_bias, scores_of
from spikevrt_kernels.window_attention.triton.tokens import load_keys, load_queries, load_rows, load_vector


@triton.jit
def load_gradient(
    out,  # (D*H*W,OUT_WIDTH) of a clip, or None with `deltas`
    grad,  # (D*H*W,OUT_WIDTH), as out
    lse,  # (D*H*W,) ACC of a head
    deltas,  # (D*H*W,) ACC of a head, or None with `out`
    slot,  # (T,)
    kept,  # (T,)
    head,
    OUT_WIDTH: tl.constexpr, E: tl.constexpr, EP: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Load dout (T,EP), lse (T,) and delta (T,) of a tile of slots."""
    do = load_rows(grad, slot, kept, head * E, OUT_WIDTH, E, EP)  # (T,EP)
    if deltas is None:
        delta = tl.sum(do.to(ACC) * load_rows(out, slot, kept, head * E, OUT_WIDTH, E, EP).to(ACC), 1)
    else:
        delta = load_vector(deltas, slot, kept, 0.0)
    return do, load_vector(lse, slot, kept, float("inf")), delta


@triton.jit
def lacking(
    gradient,  # (T,EP)
    real,  # (T,), or None
    ADDED: tl.constexpr,
):  # fmt: skip
    """The gradients of the tokens to which the kernel adds the offset: all, or if ADDED padding alone."""
    if not ADDED:
        found = gradient
    elif real is None:
        found = tl.zeros_like(gradient)
    else:
        found = tl.where(real[:, None], 0.0, gradient)
    return found


@triton.jit
def query_gradient(
    qkv,  # (D*H*W,WIDTH) of a clip
    offset_ptr,  # (3C,), or (TOKENS,3C) in mutual attention
    bias_ptr,  # (HEADS,SPAN,SPAN), or None in mutual attention
    out,  # (D*H*W,OUT_WIDTH) of a clip, or None with `deltas`
    grad,  # (D*H*W,OUT_WIDTH), as out
    lse,  # (D*H*W,) ACC of a head
    deltas,  # (D*H*W,) ACC of a head, or None with `out`
    sums,  # tiles (OWN,PASSING) ACC of the keys, to which ds is added, or none in mutual attention
    start, frame, extent, apart, head, scale,
    HEADS: tl.constexpr, E: tl.constexpr, EP: tl.constexpr, WIDTH: tl.constexpr, OUT_WIDTH: tl.constexpr,
    WH: tl.constexpr, WW: tl.constexpr, TOKENS: tl.constexpr, SPAN: tl.constexpr, MUTUAL: tl.constexpr,
    SHIFTED: tl.constexpr, ADDED: tl.constexpr, INNER: tl.constexpr, OWN: tl.constexpr, PASSING: tl.constexpr,
    FIRST: tl.constexpr, LAST: tl.constexpr, DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """dq (OWN,EP) of the queries start .. start+OWN by the tiles FIRST .. LAST of keys, and the sums; their rows, and
    whether they are real; their slots, and whether those are; delta of the slots.

    `apart` are two conditions that always hold, which the compiler of layouts cannot know: a product in a block of its
    own is spread over rows and columns, one that another product takes would be over rows alone, and with 8 warps for
    64 rows computed twice.
    """
    query = start + tl.arange(0, OWN)  # (OWN,)
    q, region_q, row, real, slot, kept = load_queries(
        qkv, offset_ptr, query, frame, extent, head, scale,
        HEADS, E, EP, WIDTH, WH, WW, TOKENS, MUTUAL, SHIFTED, ADDED, INNER, OWN, DOT, ACC,
    )  # fmt: skip
    do, total, delta = load_gradient(out, grad, lse, deltas, slot, kept, head, OUT_WIDTH, E, EP, ACC)
    dq = tl.zeros((OWN, EP), ACC)  # (OWN,EP)
    new_sums = ()
    for tile in tl.static_range(FIRST, LAST):
        key = tile * PASSING + tl.arange(0, PASSING)  # (PASSING,)
        k, v, region_k, _at, _there = load_keys(
            qkv, offset_ptr, key, frame, extent, head,
            HEADS, E, EP, WIDTH, WH, WW, TOKENS, MUTUAL, SHIFTED, ADDED, INNER, PASSING, DOT, ACC,
        )  # fmt: skip
        scores, dp = tl.zeros((OWN, PASSING), ACC), tl.zeros((OWN, PASSING), ACC)  # (OWN,PASSING)
        if apart[0]:
            bias = load_bias(bias_ptr, query, key, head, SPAN, False, ACC)
            scores = scores_of(q, k, bias, query, key, region_q, region_k, TOKENS, OWN, PASSING, False, DOT, ACC)
        if apart[1]:
            dp = add_dot(dp, do, tl.trans(v), DOT, ACC)
        ds = tl.exp2(scores - total[:, None]) * (dp - delta[:, None])
        if not MUTUAL:
            new_sums = new_sums + (sums[tile - FIRST] + ds,)
        dq = add_dot(dq, ds, k, DOT, ACC)
    return dq * (scale * 0.6931471805599453), new_sums, row, real, slot, kept, delta


@triton.jit
def key_gradients(
    qkv,  # (D*H*W,WIDTH) of a clip
    offset_ptr,  # (3C,), or (TOKENS,3C) in mutual attention
    bias_ptr,  # (HEADS,SPAN,SPAN), or None in mutual attention
    out,  # (D*H*W,OUT_WIDTH) of a clip, or None with `deltas`
    grad,  # (D*H*W,OUT_WIDTH), as out
    lse,  # (D*H*W,) ACC of a head
    deltas,  # (D*H*W,) ACC of a head, or None with `out`
    start, frame, extent, head, scale,
    HEADS: tl.constexpr, E: tl.constexpr, EP: tl.constexpr, WIDTH: tl.constexpr, OUT_WIDTH: tl.constexpr,
    WH: tl.constexpr, WW: tl.constexpr, TOKENS: tl.constexpr, SPAN: tl.constexpr, MUTUAL: tl.constexpr,
    SHIFTED: tl.constexpr, ADDED: tl.constexpr, INNER: tl.constexpr, OWN: tl.constexpr, PASSING: tl.constexpr,
    DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """dk, dv (OWN,EP) of the keys start .. start+OWN; their rows, and whether they are real."""
    key = start + tl.arange(0, OWN)  # (OWN,)
    k, v, region_k, row, real = load_keys(
        qkv, offset_ptr, key, frame, extent, head,
        HEADS, E, EP, WIDTH, WH, WW, TOKENS, MUTUAL, SHIFTED, ADDED, INNER, OWN, DOT, ACC,
    )  # fmt: skip
    dk, dv = tl.zeros((OWN, EP), ACC), tl.zeros((OWN, EP), ACC)  # (OWN,EP)
    for query_start in tl.range(0, TOKENS, PASSING, disable_licm=True):
        query = query_start + tl.arange(0, PASSING)  # (PASSING,)
        q, region_q, _row, _real, slot, kept = load_queries(
            qkv, offset_ptr, query, frame, extent, head, scale,
            HEADS, E, EP, WIDTH, WH, WW, TOKENS, MUTUAL, SHIFTED, ADDED, INNER, PASSING, DOT, ACC,
        )  # fmt: skip
        do, total, delta = load_gradient(out, grad, lse, deltas, slot, kept, head, OUT_WIDTH, E, EP, ACC)
        # Keys are the rows here, so that no product has to transpose its large input.
        bias = load_bias(bias_ptr, key, query, head, SPAN, True, ACC)
        scores = scores_of(  # (OWN,PASSING)
            k, q, bias, key, query, region_k, region_q, TOKENS, OWN, PASSING, True, DOT, ACC
        )
        p = tl.exp2(scores - total[None, :])
        dv = add_dot(dv, p, do, DOT, ACC)
        dp = add_dot(tl.zeros((OWN, PASSING), ACC), v, tl.trans(do), DOT, ACC)  # (OWN,PASSING)
        dk = add_dot(dk, p * (dp - delta[None, :]), q, DOT, ACC)
    return dk * 0.6931471805599453, dv, row, real
