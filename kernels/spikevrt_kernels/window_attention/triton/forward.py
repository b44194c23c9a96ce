"""Flash attention inside shifted windows, in place: a program owns one head of one window."""

import triton
import triton.language as tl

from spikevrt_kernels.core.triton_math import add_dot
from spikevrt_kernels.window_attention.triton.scores import scores_of
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
def attend_window(
    qkv,  # (D*H*W,WIDTH) of a clip
    offset_ptr,  # (3C,), or (TOKENS,3C) in mutual attention
    bias_ptr,  # (HEADS,SPAN,SPAN), or None in mutual attention
    out,  # (D*H*W,OUT_WIDTH) of a clip
    lse,  # (D*H*W,) ACC of a head
    frame, extent, head, scale,
    HEADS: tl.constexpr, E: tl.constexpr, EP: tl.constexpr, WIDTH: tl.constexpr, OUT_WIDTH: tl.constexpr,
    WH: tl.constexpr, WW: tl.constexpr, TOKENS: tl.constexpr, SPAN: tl.constexpr, MUTUAL: tl.constexpr,
    SHIFTED: tl.constexpr, ADDED: tl.constexpr, INNER: tl.constexpr, OWN: tl.constexpr, PASSING: tl.constexpr,
    DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """The attention of one head in a window, or in a frame of it."""
    for start in tl.range(0, TOKENS, OWN, disable_licm=True):
        query = start + tl.arange(0, OWN)  # (OWN,)
        q, region_q, _row, _real, slot, kept = load_queries(  # q (OWN,EP), the others (OWN,)
            qkv, offset_ptr, query, frame, extent, head, scale,
            HEADS, E, EP, WIDTH, WH, WW, TOKENS, MUTUAL, SHIFTED, ADDED, INNER, OWN, DOT, ACC,
        )  # fmt: skip
        top = tl.full((OWN,), float("-inf"), ACC)
        total = tl.zeros((OWN,), ACC)  # (OWN,)
        acc = tl.zeros((OWN, EP), ACC)  # (OWN,EP)
        for key_start in tl.range(0, TOKENS, PASSING, disable_licm=True):
            key = key_start + tl.arange(0, PASSING)  # (PASSING,)
            k, v, region_k, _at, _there = load_keys(  # k and v (PASSING,EP)
                qkv, offset_ptr, key, frame, extent, head,
                HEADS, E, EP, WIDTH, WH, WW, TOKENS, MUTUAL, SHIFTED, ADDED, INNER, PASSING, DOT, ACC,
            )  # fmt: skip
            scores = scores_of(  # (OWN,PASSING)
                q, k, bias_ptr, query, key, region_q, region_k, head, TOKENS, SPAN, OWN, PASSING, False, DOT, ACC
            )
            new_top = tl.maximum(top, tl.max(scores, 1))
            fade = tl.exp2(top - new_top)
            p = tl.exp2(scores - new_top[:, None])  # (OWN,PASSING)
            total = total * fade + tl.sum(p, 1)
            acc = add_dot(acc * fade[:, None], p, v, DOT, ACC)
            top = new_top
        store_rows(out, slot, kept, head * E, acc / total[:, None], OUT_WIDTH, E, EP)
        tl.store(lse + slot, top + tl.log2(total), mask=kept)


@triton.jit(do_not_specialize=SIZES, do_not_specialize_on_alignment=ANY_PLACE)
def window_attention_fwd_kernel(
    qkv_ptr,  # (B,D,H,W,WIDTH), of it 3C channels from the pointer on
    offset_ptr,  # (3C,), or (TOKENS,3C) in mutual attention
    bias_ptr,  # (HEADS,SPAN,SPAN), or None in mutual attention
    out_ptr,  # (B,D,H,W,OUT_WIDTH), of it C channels from the pointer on
    lse_ptr,  # (B,HEADS,D,H,W) ACC
    D, H, W, nD, nH, nW, shift_d, shift_h, shift_w, scale,
    HEADS: tl.constexpr, E: tl.constexpr, EP: tl.constexpr, WIDTH: tl.constexpr, OUT_WIDTH: tl.constexpr,
    WD: tl.constexpr, WH: tl.constexpr, WW: tl.constexpr, TOKENS: tl.constexpr, SPAN: tl.constexpr,
    MUTUAL: tl.constexpr, SHIFTED: tl.constexpr, ADDED: tl.constexpr, OWN: tl.constexpr, PASSING: tl.constexpr,
    DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Compute out = softmax(q k^T + bias + mask) v of one head of one window, and log2 of the softmax's sums.

    TOKENS attend each other: those of the window, or in mutual attention those of a frame. There, the slots of frame f
    receive the attention of the other frame's queries on the keys of frame f.
    """
    head, window = tl.program_id(0) % HEADS, tl.program_id(0) // HEADS
    batch, extent = extent_of(window, (D, H, W), (nD, nH, nW), (shift_d, shift_h, shift_w), WD, WH, WW)
    rows = tl.cast(D * H, tl.int64) * W
    qkv, out = qkv_ptr + batch * rows * WIDTH, out_ptr + batch * rows * OUT_WIDTH
    lse = lse_ptr + (batch * HEADS + head) * rows
    for frame in tl.static_range(2 if MUTUAL else 1):
        if is_inner(extent, WD, WH, WW):
            attend_window(
                qkv, offset_ptr, bias_ptr, out, lse, frame, extent, head, scale, HEADS, E, EP, WIDTH, OUT_WIDTH,
                WH, WW, TOKENS, SPAN, MUTUAL, SHIFTED, ADDED, True, OWN, PASSING, DOT, ACC,
            )  # fmt: skip
        else:
            attend_window(
                qkv, offset_ptr, bias_ptr, out, lse, frame, extent, head, scale, HEADS, E, EP, WIDTH, OUT_WIDTH,
                WH, WW, TOKENS, SPAN, MUTUAL, SHIFTED, ADDED, False, OWN, PASSING, DOT, ACC,
            )  # fmt: skip
