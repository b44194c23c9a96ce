"""Flash attention inside shifted windows, in place: a program owns one head of a window, or of a few side by side."""

import triton
import triton.language as tl

from spikevrt_kernels.core.triton_math import add_dot
from spikevrt_kernels.window_attention.triton.scores import load_bias, scores_of
from spikevrt_kernels.window_attention.triton.tokens import (
    ANY_PLACE,
    SIZES,
    extent_of,
    is_inner,
    load_keys,
    load_queries,
    store_rows,
)


@triton.jit
def window_of(
    qkv_ptr,  # (B,D,H,W,WIDTH)
    out_ptr,  # (B,D,H,W,OUT_WIDTH)
    lse_ptr,  # (B,HEADS,D,H,W) ACC
    window, head, size, counts, shift,
    HEADS: tl.constexpr, WIDTH: tl.constexpr, OUT_WIDTH: tl.constexpr,
    WD: tl.constexpr, WH: tl.constexpr, WW: tl.constexpr,
):  # fmt: skip
    """A window: its extent; qkv (D*H*W,WIDTH) and out (D*H*W,OUT_WIDTH) of its clip; lse (D*H*W,) of a head."""
    batch, extent = extent_of(window, size, counts, shift, WD, WH, WW)
    rows = tl.cast(size[0] * size[1], tl.int64) * size[2]
    qkv, out = qkv_ptr + batch * rows * WIDTH, out_ptr + batch * rows * OUT_WIDTH
    return extent, qkv, out, lse_ptr + (batch * HEADS + head) * rows


@triton.jit
def add_keys(
    sums,  # the largest score (OWN,), the sum of the softmax (OWN,) and of its products (OWN,EP), all ACC
    scores,  # (OWN,PASSING) ACC
    v,  # (PASSING,EP) DOT
    DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """The sums with another tile of keys."""
    top, total, acc = sums
    new_top = tl.maximum(top, tl.max(scores, 1))
    fade = tl.exp2(top - new_top)
    p = tl.exp2(scores - new_top[:, None])  # (OWN,PASSING)
    total = total * fade + tl.sum(p, 1)
    return new_top, total, add_dot(acc * fade[:, None], p, v, DOT, ACC)


@triton.jit
def attend_windows(
    windows,  # a tuple of GROUP, from `window_of`
    offset_ptr,  # (3C,), or (TOKENS,3C) in mutual attention
    bias_ptr,  # (HEADS,SPAN,SPAN), or None in mutual attention
    frame, head, scale,
    HEADS: tl.constexpr, E: tl.constexpr, EP: tl.constexpr, WIDTH: tl.constexpr, OUT_WIDTH: tl.constexpr,
    WH: tl.constexpr, WW: tl.constexpr, TOKENS: tl.constexpr, SPAN: tl.constexpr, MUTUAL: tl.constexpr,
    SHIFTED: tl.constexpr, ADDED: tl.constexpr, INNER: tl.constexpr, OWN: tl.constexpr, PASSING: tl.constexpr,
    GROUP: tl.constexpr, DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """The attention of one head in each of the windows, or in a frame of each; they share the tiles of the bias."""
    for start in tl.range(0, TOKENS, OWN, disable_licm=True):
        query = start + tl.arange(0, OWN)  # (OWN,)
        queries, sums = (), ()
        for i in tl.static_range(GROUP):
            extent, qkv, _out, _lse = windows[i]
            q, region_q, _row, _real, slot, kept = load_queries(  # q (OWN,EP), the others (OWN,)
                qkv, offset_ptr, query, frame, extent, head, scale,
                HEADS, E, EP, WIDTH, WH, WW, TOKENS, MUTUAL, SHIFTED, ADDED, INNER, OWN, DOT, ACC,
            )  # fmt: skip
            queries = queries + ((q, region_q, slot, kept),)
            top, total, acc = tl.full((OWN,), float("-inf"), ACC), tl.zeros((OWN,), ACC), tl.zeros((OWN, EP), ACC)
            sums = sums + ((top, total, acc),)
        for key_start in tl.range(0, TOKENS, PASSING, disable_licm=True):
            key = key_start + tl.arange(0, PASSING)  # (PASSING,)
            keys, new_sums = (), ()
            for i in tl.static_range(GROUP):
                extent, qkv, _out, _lse = windows[i]
                k, v, region_k, _at, _there = load_keys(  # k and v (PASSING,EP)
                    qkv, offset_ptr, key, frame, extent, head,
                    HEADS, E, EP, WIDTH, WH, WW, TOKENS, MUTUAL, SHIFTED, ADDED, INNER, PASSING, DOT, ACC,
                )  # fmt: skip
                keys = keys + ((k, v, region_k),)
            bias = load_bias(bias_ptr, query, key, head, SPAN, False, ACC)
            for i in tl.static_range(GROUP):
                q, region_q, _slot, _kept = queries[i]
                k, v, region_k = keys[i]
                scores = scores_of(  # (OWN,PASSING)
                    q, k, bias, query, key, region_q, region_k, TOKENS, OWN, PASSING, False, DOT, ACC
                )
                new_sums = new_sums + (add_keys(sums[i], scores, v, DOT, ACC),)
            sums = new_sums
        for i in tl.static_range(GROUP):
            _extent, _qkv, out, lse = windows[i]
            _q, _region, slot, kept = queries[i]
            top, total, acc = sums[i]
            store_rows(out, slot, kept, head * E, acc / total[:, None], OUT_WIDTH, E, EP)
            tl.store(lse + slot, top + tl.log2(total), mask=kept)


@triton.jit
def attend_window(
    window,  # from `window_of`
    offset_ptr,  # (3C,), or (TOKENS,3C) in mutual attention
    bias_ptr,  # (HEADS,SPAN,SPAN), or None in mutual attention
    head, scale,
    HEADS: tl.constexpr, E: tl.constexpr, EP: tl.constexpr, WIDTH: tl.constexpr, OUT_WIDTH: tl.constexpr,
    WD: tl.constexpr, WH: tl.constexpr, WW: tl.constexpr, TOKENS: tl.constexpr, SPAN: tl.constexpr,
    MUTUAL: tl.constexpr, SHIFTED: tl.constexpr, ADDED: tl.constexpr, OWN: tl.constexpr, PASSING: tl.constexpr,
    DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """The attention of one head in one window, INNER or not."""
    for frame in tl.static_range(2 if MUTUAL else 1):
        if is_inner(window[0], WD, WH, WW):
            attend_windows(
                (window,), offset_ptr, bias_ptr, frame, head, scale, HEADS, E, EP, WIDTH, OUT_WIDTH,
                WH, WW, TOKENS, SPAN, MUTUAL, SHIFTED, ADDED, True, OWN, PASSING, 1, DOT, ACC,
            )  # fmt: skip
        else:
            attend_windows(
                (window,), offset_ptr, bias_ptr, frame, head, scale, HEADS, E, EP, WIDTH, OUT_WIDTH,
                WH, WW, TOKENS, SPAN, MUTUAL, SHIFTED, ADDED, False, OWN, PASSING, 1, DOT, ACC,
            )  # fmt: skip


@triton.jit(do_not_specialize=SIZES, do_not_specialize_on_alignment=ANY_PLACE)
def window_attention_fwd_kernel(
    qkv_ptr,  # (B,D,H,W,WIDTH), of it 3C channels from the pointer on
    offset_ptr,  # (3C,), or (TOKENS,3C) in mutual attention
    bias_ptr,  # (HEADS,SPAN,SPAN), or None in mutual attention
    out_ptr,  # (B,D,H,W,OUT_WIDTH), of it C channels from the pointer on
    lse_ptr,  # (B,HEADS,D,H,W) ACC
    D, H, W, nD, nH, nW, shift_d, shift_h, shift_w, scale, windows,
    HEADS: tl.constexpr, E: tl.constexpr, EP: tl.constexpr, WIDTH: tl.constexpr, OUT_WIDTH: tl.constexpr,
    WD: tl.constexpr, WH: tl.constexpr, WW: tl.constexpr, TOKENS: tl.constexpr, SPAN: tl.constexpr,
    MUTUAL: tl.constexpr, SHIFTED: tl.constexpr, ADDED: tl.constexpr, OWN: tl.constexpr, PASSING: tl.constexpr,
    GROUP: tl.constexpr, DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Compute out = softmax(q k^T + bias + mask) v of one head of GROUP windows, and log2 of the softmax's sums.

    TOKENS attend each other: those of the window, or in mutual attention those of a frame. There, the slots of frame f
    receive the attention of the other frame's queries on the keys of frame f. Windows are attended together where all
    of the group exist and are INNER, else one after the other.
    """
    head, first = tl.program_id(0) % HEADS, tl.program_id(0) // HEADS * GROUP
    size, counts, shift = (D, H, W), (nD, nH, nW), (shift_d, shift_h, shift_w)
    group, together = (), first + GROUP <= windows
    for i in tl.static_range(GROUP):
        window = window_of(
            qkv_ptr, out_ptr, lse_ptr, first + i, head, size, counts, shift, HEADS, WIDTH, OUT_WIDTH, WD, WH, WW
        )
        group, together = group + (window,), together & is_inner(window[0], WD, WH, WW)
    if GROUP == 1:
        attend_window(
            group[0], offset_ptr, bias_ptr, head, scale, HEADS, E, EP, WIDTH, OUT_WIDTH,
            WD, WH, WW, TOKENS, SPAN, MUTUAL, SHIFTED, ADDED, OWN, PASSING, DOT, ACC,
        )  # fmt: skip
    elif together:
        for frame in tl.static_range(2 if MUTUAL else 1):
            attend_windows(
                group, offset_ptr, bias_ptr, frame, head, scale, HEADS, E, EP, WIDTH, OUT_WIDTH,
                WH, WW, TOKENS, SPAN, MUTUAL, SHIFTED, ADDED, True, OWN, PASSING, GROUP, DOT, ACC,
            )  # fmt: skip
    else:
        # A loop at run time, so that the code for one window is in the binary once.
        for alone in tl.range(first, tl.minimum(first + GROUP, windows), disable_licm=True):
            window = window_of(
                qkv_ptr, out_ptr, lse_ptr, alone, head, size, counts, shift, HEADS, WIDTH, OUT_WIDTH, WD, WH, WW
            )
            attend_window(
                window, offset_ptr, bias_ptr, head, scale, HEADS, E, EP, WIDTH, OUT_WIDTH,
                WD, WH, WW, TOKENS, SPAN, MUTUAL, SHIFTED, ADDED, OWN, PASSING, DOT, ACC,
            )  # fmt: skip
