"""Backward of o = attention of LN(x), LN(context), which recomputes: from dy to dq, dk, dv, then to dx and dcontext.

A program owns its pixels in all frames. It computes dx from the dq, dk, dv of all heads that it has just written
itself; other programs read them only later, for the gradients of the weights.
"""

import triton
import triton.language as tl

from spikevrt_kernels.core.triton_math import add_dot
from spikevrt_kernels.core.triton_tiles import load_weight, norm_backward, zero_tiles
from spikevrt_kernels.temporal_attention.triton.kernels import drop, softmax_frames
from spikevrt_kernels.temporal_block.triton.attention_forward import project, project_frames
from spikevrt_kernels.temporal_block.triton.tiles import load_normed, load_tile, store_tile


@triton.jit
def add_projected(
    dz,  # (P,CP) ACC
    grad_ptr,  # (C,HW) of a frame, channels `stride_c` apart
    stride_c,
    w_ptr,  # (3C,C) DOT, the norms folded in
    row, C, at, inside,
    CP: tl.constexpr, CK: tl.constexpr, DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Add to dz (P,CP) the gradient through C outputs of a projection, whose rows of w are row .. row+C."""
    for c in tl.range(0, C, CK, disable_licm=True):
        w = load_weight(w_ptr, row + c, row + C, 0, C, C, CK, CP)  # (CK,CP)
        dz = add_dot(dz, load_tile(grad_ptr, stride_c, c, C, at, inside, CK), w, DOT, ACC)
    return dz


@triton.jit
def folded_norm_backward(dz, x_ptr, stride_xc, stats_ptr, plane, C, at, inside, CP: tl.constexpr, ACC: tl.constexpr):
    """The gradient with respect to x, through a layer norm that is folded into the weights."""
    xhat, rstd = load_normed(x_ptr, stride_xc, stats_ptr, plane, C, at, inside, CP, ACC)  # (P,CP), (P,)
    return norm_backward(dz, xhat, rstd, C)


@triton.jit
def temporal_block_bwd_attend_kernel(
    x_ptr,  # (B,C,TQ,HW) by strides
    context_ptr,  # (B,C,TK,HW) by strides; x itself in self-attention
    dy_ptr,  # (B,C,TQ,HW) contiguous
    dq_ptr,  # (B,C,TQ,HW) by the batch's stride, DOT
    dkv_ptr,  # (B,2C,TK,HW) by the batch's stride, DOT: dk, then dv
    dx_ptr,  # (B,C,TQ,HW) contiguous
    dcontext_ptr,  # (B,C,TK,HW) contiguous, or None in self-attention
    w_ptr,  # (3C,C) DOT, the norms folded in
    sum_ptr,  # (3C,) ACC, sums of its rows
    b_ptr,  # (3C,) ACC, the norms folded in
    wo_ptr,  # (C,C)
    stats_q_ptr,  # (2,B,TQ,HW) ACC
    stats_kv_ptr,  # (2,B,TK,HW) ACC
    seed_ptr,  # (1,) int64, or None without dropout
    stride_xb, stride_xc, stride_xt, stride_kb, stride_kc, stride_kt, stride_dqb, stride_dkvb,
    HW, C, D, heads, scale, eps, dropout_p,
    TQ: tl.constexpr, TK: tl.constexpr, SELF: tl.constexpr, P: tl.constexpr, CK: tl.constexpr, CP: tl.constexpr,
    DP: tl.constexpr, DROPOUT: tl.constexpr, DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Compute the gradients of the projections' outputs and inputs at P pixels of all frames."""
    at = tl.program_id(0) * P + tl.arange(0, P)  # (P,)
    inside = at < HW
    batch, wide = tl.cast(tl.program_id(1), tl.int64), tl.cast(HW, tl.int64)
    x, context = x_ptr + batch * stride_xb, context_ptr + batch * stride_kb
    x_t, k_t = tl.cast(stride_xt, tl.int64), tl.cast(stride_kt, tl.int64)
    q_c, k_c = wide * TQ, wide * TK
    dy = dy_ptr + batch * C * q_c
    dq_base = dq_ptr + batch * stride_dqb
    dkv = dkv_ptr + batch * stride_dkvb
    q_plane, k_plane = tl.num_programs(1) * q_c, tl.num_programs(1) * k_c
    q_stats, k_stats = stats_q_ptr + batch * q_c, stats_kv_ptr + batch * k_c
    # The loop over heads carries all three (see `project_frames`).
    k_frame, k_frame_stats, dkv_frame = context, k_stats, dkv
    for head in tl.range(heads, disable_licm=True):
        row = head * D
        ks, vs, k_frame, k_frame_stats = project_frames(  # ks and vs: TK of (P,DP) DOT
            k_frame, stride_kc, k_t, C, at, inside, k_frame_stats, wide, k_plane,
            w_ptr, sum_ptr, b_ptr, C + row, D, TK, P, DP, CK, DOT, ACC,
        )  # fmt: skip
        dks, dvs = zero_tiles(TK, P, DP, ACC), zero_tiles(TK, P, DP, ACC)  # each TK of (P,DP)
        frame, stats, dy_frame, dq_frame = x, q_stats, dy, dq_base
        for i in tl.range(TQ, disable_licm=True):
            q = project(  # (P,DP) ACC
                frame, stride_xc, C, at, inside, stats, q_plane,
                w_ptr, sum_ptr, b_ptr, row, D, P, DP, CK, DOT, ACC,
            )  # fmt: skip
            do = tl.zeros((P, DP), ACC)  # (P,DP)
            for c in tl.range(0, C, CK, disable_licm=True):
                w = load_weight(wo_ptr, c, C, row, row + D, C, CK, DP)  # (CK,DP)
                do = add_dot(do, load_tile(dy_frame, q_c, c, C, at, inside, CK), w, DOT, ACC)
            scores, dp = (), ()
            for s in tl.static_range(TK):
                scores = scores + (tl.sum(q * ks[s].to(ACC), 1),)
                dp = dp + (tl.sum(do * vs[s].to(ACC), 1),)
            p = softmax_frames(scores, scale, 1, TK)  # TK of (P,)
            dropped = p
            if DROPOUT:
                first = ((batch * heads + head) * TQ + i) * ((TK + 3) // 4)
                dropped, dp = drop(p, dp, tl.load(seed_ptr), first, at, HW, dropout_p, TK, ACC)
            mean = p[0] * dp[0]  # (P,)
            for s in tl.static_range(1, TK):
                mean += p[s] * dp[s]
            dq = tl.zeros((P, DP), ACC)  # (P,DP)
            new_k, new_v = (), ()
            for s in tl.static_range(TK):
                ds = (p[s] * (dp[s] - mean) * scale)[:, None]  # (P,1)
                dq += ds * ks[s].to(ACC)
                new_k = new_k + (dks[s] + ds * q,)
                new_v = new_v + (dvs[s] + dropped[s][:, None] * do,)
            dks, dvs = new_k, new_v
            store_tile(dq_frame, q_c, row, row + D, at, inside, dq, DP)
            frame += x_t
            stats += wide
            dy_frame += wide
            dq_frame += wide
        for s in tl.static_range(TK):
            store_tile(dkv_frame, k_c, row, row + D, at, inside, dks[s], DP)
            store_tile(dkv_frame, k_c, row + C, row + C + D, at, inside, dvs[s], DP)
            dkv_frame += wide
        dkv_frame -= wide * TK
    # All heads are in memory now, written by this program.
    tl.debug_barrier()
    dx = dx_ptr + batch * C * q_c
    for t in tl.range(TQ, disable_licm=True):
        frame = tl.cast(t, tl.int64)
        dz = add_projected(  # (P,CP)
            tl.zeros((P, CP), ACC), dq_base + frame * wide, q_c, w_ptr, 0, C, at, inside, CP, CK, DOT, ACC
        )
        if SELF:
            dz = add_projected(dz, dkv + frame * wide, k_c, w_ptr, C, C, at, inside, CP, CK, DOT, ACC)
            dz = add_projected(dz, dkv + C * k_c + frame * wide, k_c, w_ptr, 2 * C, C, at, inside, CP, CK, DOT, ACC)
        tile = folded_norm_backward(  # (P,CP)
            dz, x + frame * x_t, stride_xc, q_stats + frame * wide, q_plane, C, at, inside, CP, ACC
        ) + load_tile(dy + frame * wide, q_c, 0, C, at, inside, CP).to(ACC)
        store_tile(dx + frame * wide, q_c, 0, C, at, inside, tile, CP)
    if not SELF:
        dcontext = dcontext_ptr + batch * C * k_c
        for t in tl.range(TK, disable_licm=True):
            frame = tl.cast(t, tl.int64)
            dz = add_projected(  # (P,CP)
                tl.zeros((P, CP), ACC), dkv + frame * wide, k_c, w_ptr, C, C, at, inside, CP, CK, DOT, ACC
            )
            dz = add_projected(dz, dkv + C * k_c + frame * wide, k_c, w_ptr, 2 * C, C, at, inside, CP, CK, DOT, ACC)
            tile = folded_norm_backward(  # (P,CP)
                dz, context + frame * k_t, stride_kc, k_stats + frame * wide, k_plane, C, at, inside, CP, ACC
            )
            store_tile(dcontext + frame * wide, k_c, 0, C, at, inside, tile, CP)
