"""The attention of the block, norm and projections included: x, context -> o."""

import triton
import triton.language as tl

from spikevrt_kernels.core.triton_math import add_dot
from spikevrt_kernels.core.triton_tiles import load_vector, load_weight
from spikevrt_kernels.temporal_attention.triton.kernels import drop, softmax_frames
from spikevrt_kernels.temporal_block.triton.tiles import frame_stats, load_tile, store_tile


@triton.jit
def save_stats(
    ptr,  # (C,T,HW) by strides
    stride_c, stride_t,
    stats_ptr,  # (T,HW) ACC, written; `plane` further the second ones
    plane, HW, C, T, at, inside, eps,
    P: tl.constexpr, CK: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Write the layer norm statistics of T frames: means, and 1 / standard deviations `plane` elements further."""
    for _ in tl.range(T, disable_licm=True):
        mean, rstd = frame_stats(ptr, stride_c, C, at, inside, eps, P, CK, ACC)  # (P,), (P,)
        tl.store(stats_ptr + at, mean, mask=inside)
        tl.store(stats_ptr + plane + at, rstd, mask=inside)
        ptr += stride_t
        stats_ptr += HW


@triton.jit
def project(
    frame_ptr,  # (C,HW) of a frame, its channels `stride_c` apart
    stride_c, C, at, inside,
    stats_ptr,  # (HW,) ACC means; `plane` further 1 / deviation
    plane,
    w_ptr,  # (3C,C) DOT, the norms folded in
    sum_ptr,  # (3C,) ACC, sums of its rows
    b_ptr,  # (3C,) ACC, the norms folded in
    row, D,
    P: tl.constexpr, DP: tl.constexpr, CK: tl.constexpr, DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """LN(x) W^T + b of one head and frame, norm folded into rows row .. row+D of w: (P,DP) in ACC, zero beyond D."""
    out = tl.zeros((P, DP), ACC)  # (P,DP)
    for c in tl.range(0, C, CK, disable_licm=True):
        w = load_weight(w_ptr, row, row + D, c, C, C, DP, CK)  # (DP,CK)
        x = load_for_dot(frame_ptr, stride_c, c, C, at, inside, stats_ptr, CK, DOT, ACC)  # (P,CK)
        out = add_dot(out, x, tl.trans(w), DOT, ACC)
    EXACT: tl.constexpr = frame_ptr.dtype.element_ty == DOT
    return unfold(out, stats_ptr, plane, at, inside, sum_ptr, b_ptr, row, D, DP, EXACT, ACC)


@triton.jit
def load_for_dot(
    frame_ptr,  # (C,HW) of a frame, its channels `stride_c` apart
    stride_c, c, C, at, inside,
    stats_ptr,  # (HW,) ACC means; `plane` further 1 / deviation
    CK: tl.constexpr, DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Load channels c .. c+CK of a frame: (P,CK). If they are wider than DOT, their mean is subtracted first: rounding
    a mean of many standard deviations would destroy most of what the norm keeps."""
    x = load_tile(frame_ptr, stride_c, c, C, at, inside, CK)  # (P,CK)
    if frame_ptr.dtype.element_ty == DOT:
        return x
    else:
        return x.to(ACC) - tl.load(stats_ptr + at, mask=inside, other=0.0)[:, None]


@triton.jit
def unfold(
    out,  # (P,DP) ACC: x w^T
    stats_ptr,  # (HW,) ACC means; `plane` further 1 / deviation
    plane, at, inside,
    sum_ptr,  # (3C,) ACC, sums of its rows
    b_ptr,  # (3C,) ACC, the norms folded in
    row, D,
    DP: tl.constexpr, EXACT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """rstd * (x w^T - mean * sum(w)) + b, the rest of a folded norm; unless EXACT, x was centred before."""
    mean = tl.load(stats_ptr + at, mask=inside, other=0.0)  # (P,)
    rstd = tl.load(stats_ptr + plane + at, mask=inside, other=0.0)  # (P,)
    sums, bias = load_vector(sum_ptr, row, row + D, DP, ACC), load_vector(b_ptr, row, row + D, DP, ACC)  # (DP,)
    if EXACT:
        out -= mean[:, None] * sums[None, :]
    return out * rstd[:, None] + bias[None, :]


@triton.jit
def project_kv(
    frame_ptr,  # (C,HW) of a frame, its channels `stride_c` apart
    stride_c, C, at, inside,
    stats_ptr,  # (HW,) ACC means; `plane` further 1 / deviation
    plane,
    w_ptr,  # (3C,C) DOT, the norms folded in
    sum_ptr,  # (3C,) ACC, sums of its rows
    b_ptr,  # (3C,) ACC, the norms folded in
    row, D,
    P: tl.constexpr, DP: tl.constexpr, CK: tl.constexpr, DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Keys and values of one head, each (P,DP) in DOT; `row` is the head's first key row in w (3C,C)."""
    k, v = tl.zeros((P, DP), ACC), tl.zeros((P, DP), ACC)  # (P,DP)
    for c in tl.range(0, C, CK, disable_licm=True):
        x = load_for_dot(frame_ptr, stride_c, c, C, at, inside, stats_ptr, CK, DOT, ACC)  # (P,CK)
        k = add_dot(k, x, tl.trans(load_weight(w_ptr, row, row + D, c, C, C, DP, CK)), DOT, ACC)
        v = add_dot(v, x, tl.trans(load_weight(w_ptr, row + C, row + C + D, c, C, C, DP, CK)), DOT, ACC)
    EXACT: tl.constexpr = frame_ptr.dtype.element_ty == DOT
    k = unfold(k, stats_ptr, plane, at, inside, sum_ptr, b_ptr, row, D, DP, EXACT, ACC)
    v = unfold(v, stats_ptr, plane, at, inside, sum_ptr, b_ptr, row + C, D, DP, EXACT, ACC)
    return k.to(DOT), v.to(DOT)


@triton.jit
def project_frames(
    frame_ptr,  # (C,T,HW) by strides
    stride_c, stride_t, C, at, inside,
    stats_ptr,  # (T,HW) ACC means; `plane` further 1 / deviation
    HW, plane,
    w_ptr,  # (3C,C) DOT, the norms folded in
    sum_ptr,  # (3C,) ACC, sums of its rows
    b_ptr,  # (3C,) ACC, the norms folded in
    row, D,
    T: tl.constexpr, P: tl.constexpr, DP: tl.constexpr, CK: tl.constexpr, DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Call `project_kv` for T frames: returns their keys, their values, and the unchanged pointers.

    A loop over heads carries the pointers; otherwise the addresses of all frames would stay in registers.
    """
    ks, vs = (), ()
    for _ in tl.static_range(T):
        k, v = project_kv(
            frame_ptr, stride_c, C, at, inside, stats_ptr, plane, w_ptr, sum_ptr, b_ptr, row, D, P, DP, CK, DOT, ACC
        )
        ks, vs = ks + (k,), vs + (v,)
        frame_ptr += stride_t
        stats_ptr += HW
    return ks, vs, frame_ptr - stride_t * T, stats_ptr - HW * T


@triton.jit
def attend(
    x_ptr,  # (B,C,TQ,HW) by strides
    context_ptr,  # (B,C,TK,HW) by strides; x itself in self-attention
    o_ptr,  # (B,C,TQ,HW) contiguous, written
    w_ptr,  # (3C,C) DOT, the norms folded in
    sum_ptr,  # (3C,) ACC, sums of its rows
    b_ptr,  # (3C,) ACC, the norms folded in
    stats_q_ptr,  # (2,B,TQ,HW) ACC, written
    stats_kv_ptr,  # (2,B,TK,HW) ACC, written; that of q in self-attention
    seed_ptr,  # (1,) int64, or None without dropout
    stride_xb, stride_xc, stride_xt, stride_kb, stride_kc, stride_kt,
    HW, C, D, heads, scale, eps, dropout_p, at, inside,
    TQ: tl.constexpr, TK: tl.constexpr, SELF: tl.constexpr, P: tl.constexpr, CK: tl.constexpr, DP: tl.constexpr,
    DROPOUT: tl.constexpr, DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """o = concatenated heads of softmax(scale q k^T) v, q of LN x, k and v of LN context, at pixels `at` of all frames.

    Heads are computed one after the other: keys and values of one head stay in registers for all frames, and queries
    are loaded frame by frame.
    """
    batch = tl.cast(tl.program_id(1), tl.int64)
    x, context = x_ptr + batch * stride_xb, context_ptr + batch * stride_kb
    x_t, k_t = tl.cast(stride_xt, tl.int64), tl.cast(stride_kt, tl.int64)
    o_c = tl.cast(HW, tl.int64) * TQ
    o = o_ptr + batch * C * o_c
    wide = tl.cast(HW, tl.int64)
    q_plane, k_plane = tl.num_programs(1) * TQ * wide, tl.num_programs(1) * TK * wide
    q_stats, k_stats = stats_q_ptr + batch * TQ * wide, stats_kv_ptr + batch * TK * wide
    save_stats(x, stride_xc, x_t, q_stats, q_plane, wide, C, TQ, at, inside, eps, P, CK, ACC)
    if not SELF:
        save_stats(context, stride_kc, k_t, k_stats, k_plane, wide, C, TK, at, inside, eps, P, CK, ACC)
    # Statistics are loaded again where they are needed, because those of T frames would fill the registers.
    tl.debug_barrier()
    k_frame, k_frame_stats = context, k_stats
    for head in tl.range(heads, disable_licm=True):
        ks, vs, k_frame, k_frame_stats = project_frames(  # ks and vs: TK of (P,DP) DOT
            k_frame, stride_kc, k_t, C, at, inside, k_frame_stats, wide, k_plane,
            w_ptr, sum_ptr, b_ptr, C + head * D, D, TK, P, DP, CK, DOT, ACC,
        )  # fmt: skip
        frame, stats, o_frame = x, q_stats, o
        for i in tl.range(TQ, disable_licm=True):
            q = project(  # (P,DP) ACC
                frame, stride_xc, C, at, inside, stats, q_plane,
                w_ptr, sum_ptr, b_ptr, head * D, D, P, DP, CK, DOT, ACC,
            )  # fmt: skip
            scores = ()
            for s in tl.static_range(TK):
                scores = scores + (tl.sum(q * ks[s].to(ACC), 1),)  # (P,)
            p = softmax_frames(scores, scale, 1, TK)  # TK of (P,)
            if DROPOUT:
                first = ((batch * heads + head) * TQ + i) * ((TK + 3) // 4)
                p, _same = drop(p, p, tl.load(seed_ptr), first, at, HW, dropout_p, TK, ACC)
            out = p[0][:, None] * vs[0].to(ACC)  # (P,DP)
            for s in tl.static_range(1, TK):
                out += p[s][:, None] * vs[s].to(ACC)
            store_tile(o_frame, o_c, head * D, head * D + D, at, inside, out, DP)
            frame += x_t
            stats += wide
            o_frame += wide


@triton.jit
def temporal_block_attend_kernel(
    x_ptr,  # (B,C,TQ,HW) by strides
    context_ptr,  # (B,C,TK,HW) by strides; x itself in self-attention
    o_ptr,  # (B,C,TQ,HW) contiguous, DOT
    w_ptr,  # (3C,C) DOT, the norms folded in
    sum_ptr,  # (3C,) ACC, sums of its rows
    b_ptr,  # (3C,) ACC, the norms folded in
    stats_q_ptr,  # (2,B,TQ,HW) ACC, written
    stats_kv_ptr,  # (2,B,TK,HW) ACC, written; that of q in self-attention
    seed_ptr,  # (1,) int64, or None without dropout
    stride_xb, stride_xc, stride_xt, stride_kb, stride_kc, stride_kt,
    HW, C, D, heads, scale, eps, dropout_p,
    TQ: tl.constexpr, TK: tl.constexpr, SELF: tl.constexpr, P: tl.constexpr, CK: tl.constexpr, DP: tl.constexpr,
    DROPOUT: tl.constexpr, DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Run `attend` at P pixels of all frames."""
    at = tl.program_id(0) * P + tl.arange(0, P)  # (P,)
    attend(
        x_ptr, context_ptr, o_ptr, w_ptr, sum_ptr, b_ptr, stats_q_ptr, stats_kv_ptr, seed_ptr,
        stride_xb, stride_xc, stride_xt, stride_kb, stride_kc, stride_kt, HW, C, D, heads, scale, eps, dropout_p,
        at, at < HW, TQ, TK, SELF, P, CK, DP, DROPOUT, DOT, ACC,
    )  # fmt: skip
