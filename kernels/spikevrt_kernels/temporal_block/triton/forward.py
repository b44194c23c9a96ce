"""The whole block in one kernel: attention and MLP of the same pixels."""

import triton
import triton.language as tl

from spikevrt_kernels.temporal_block.triton.attention_forward import attend
from spikevrt_kernels.temporal_block.triton.mlp_forward import mlp


@triton.jit
def temporal_block_kernel(
    x_ptr,  # (B,C,TQ,HW) by strides
    context_ptr,  # (B,C,TK,HW) by strides; x itself in self-attention
    o_ptr,  # (B,C,TQ,HW) contiguous; the same as `out` if o is not kept
    out_ptr,  # (B,C,TQ,HW) contiguous
    w_ptr,  # (3C,C) DOT, the norms folded in
    sum_ptr,  # (3C,) ACC, sums of its rows
    b_ptr,  # (3C,) ACC, the norms folded in
    stats_q_ptr,  # (2,B,TQ,HW) ACC, written
    stats_kv_ptr,  # (2,B,TK,HW) ACC, written; that of q in self-attention
    seed_ptr,  # (1,) int64, or None without dropout
    wo_ptr,  # (C,C)
    bo_ptr,  # (C,)
    gamma_ptr,  # (C,)
    beta_ptr,  # (C,)
    w1_ptr,  # (R,C)
    b1_ptr,  # (R,)
    w2_ptr,  # (C,R)
    b2_ptr,  # (C,)
    stride_xb, stride_xc, stride_xt, stride_kb, stride_kc, stride_kt,
    HW, C, D, R, heads, scale, eps, dropout_p,
    TQ: tl.constexpr, TK: tl.constexpr, SELF: tl.constexpr, SHARED: tl.constexpr, P: tl.constexpr, NC: tl.constexpr,
    CK: tl.constexpr, RK: tl.constexpr, DP: tl.constexpr, DROPOUT: tl.constexpr, DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """The whole block at P pixels of all frames: the MLP of a program needs only the attention of its own pixels."""
    at = tl.program_id(0) * P + tl.arange(0, P)  # (P,)
    inside = at < HW
    attend(
        x_ptr, context_ptr, o_ptr, w_ptr, sum_ptr, b_ptr, stats_q_ptr, stats_kv_ptr, seed_ptr,
        stride_xb, stride_xc, stride_xt, stride_kb, stride_kc, stride_kt, HW, C, D, heads, scale, eps, dropout_p,
        at, inside, TQ, TK, SELF, P, CK, DP, DROPOUT, DOT, ACC,
    )  # fmt: skip
    tl.debug_barrier()
    batch, wide = tl.cast(tl.program_id(1), tl.int64), tl.cast(HW, tl.int64)
    o_c = wide * TQ
    x, frame = x_ptr + batch * stride_xb, batch * C * o_c
    for _ in tl.range(TQ, disable_licm=True):
        mlp(
            x, stride_xc, o_ptr + frame, out_ptr + frame, o_c, C, R, eps, at, inside,
            wo_ptr, bo_ptr, gamma_ptr, beta_ptr, w1_ptr, b1_ptr, w2_ptr, b2_ptr, SHARED, P, NC, CK, RK, DOT, ACC,
        )  # fmt: skip
        x += tl.cast(stride_xt, tl.int64)
        frame += wide
