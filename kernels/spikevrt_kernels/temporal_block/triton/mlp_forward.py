"""The part of the block after the attention: from x and o to out, with output projection, residuals and MLP."""

import triton
import triton.language as tl

from spikevrt_kernels.core.triton_math import add_dot
from spikevrt_kernels.core.triton_tiles import chunk_stats, gelu, load_vector, load_weight, norm_chunks
from spikevrt_kernels.temporal_block.triton.tiles import load_tile, store_tile


@triton.jit
def residual_chunks(
    x_ptr,  # (C,HW) of a frame, channels `stride_xc` apart
    stride_xc,
    o_ptr,  # (C,HW) of a frame, channels `o_c` apart
    o_c, C, at, inside,
    wo_ptr,  # (C,C)
    bo_ptr,  # (C,)
    P: tl.constexpr, NC: tl.constexpr, CK: tl.constexpr, DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """y = x + o Wo^T + bo of one frame: NC chunks (P,CK) in ACC."""
    chunks = ()
    for j in tl.static_range(NC):
        acc = tl.zeros((P, CK), ACC)  # (P,CK)
        for c in tl.range(0, C, CK, disable_licm=True):
            w = load_weight(wo_ptr, j * CK, C, c, C, C, CK, CK)  # (CK,CK)
            acc = add_dot(acc, load_tile(o_ptr, o_c, c, C, at, inside, CK), tl.trans(w), DOT, ACC)
        acc += load_vector(bo_ptr, j * CK, C, CK, ACC)[None, :]
        chunks = chunks + (acc + load_tile(x_ptr, stride_xc, j * CK, C, at, inside, CK).to(ACC),)
    return chunks


@triton.jit
def hidden_slice(
    z,  # NC of (P,CK)
    w1_ptr,  # (R,C)
    b1_ptr,  # (R,)
    r, R, C,
    P: tl.constexpr, NC: tl.constexpr, CK: tl.constexpr, RK: tl.constexpr, DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """z W1^T + b1 of the hidden channels r .. r+RK: (P,RK) in ACC, zero beyond R."""
    a = tl.zeros((P, RK), ACC)  # (P,RK)
    for j in tl.static_range(NC):
        a = add_dot(a, z[j], tl.trans(load_weight(w1_ptr, r, R, j * CK, C, C, RK, CK)), DOT, ACC)
    return a + load_vector(b1_ptr, r, R, RK, ACC)[None, :]


@triton.jit
def mlp(
    x_ptr,  # (C,HW) of a frame, channels `stride_xc` apart
    stride_xc,
    o_ptr,  # (C,HW) of a frame, channels `o_c` apart
    out_ptr,  # the same, written
    o_c, C, R, eps, at, inside,
    wo_ptr,  # (C,C)
    bo_ptr,  # (C,)
    gamma_ptr,  # (C,)
    beta_ptr,  # (C,)
    w1_ptr,  # (R,C)
    b1_ptr,  # (R,)
    w2_ptr,  # (C,R)
    b2_ptr,  # (C,)
    SHARED: tl.constexpr, P: tl.constexpr, NC: tl.constexpr, CK: tl.constexpr, RK: tl.constexpr, DOT: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    """y = x + o Wo^T + bo; out = y + GELU(LN(y) W1^T + b1) W2^T + b2, at the pixels `at` of one frame."""
    y = residual_chunks(x_ptr, stride_xc, o_ptr, o_c, C, at, inside, wo_ptr, bo_ptr, P, NC, CK, DOT, ACC)
    mean, rstd = chunk_stats(y, C, eps, NC, CK, ACC)  # (P,), (P,)
    z = norm_chunks(y, mean, rstd, gamma_ptr, beta_ptr, C, NC, CK, DOT, ACC)  # NC of (P,CK)
    for r in tl.range(0, R, RK, disable_licm=True):
        h = gelu(hidden_slice(z, w1_ptr, b1_ptr, r, R, C, P, NC, CK, RK, DOT, ACC)).to(DOT)  # (P,RK)
        new = ()
        for j in tl.static_range(NC):
            w = load_weight(w2_ptr, j * CK, C, r, R, R, CK, RK)  # (CK,RK)
            new = new + (add_dot(y[j], h, tl.trans(w), DOT, ACC),)
        y = new
    if SHARED:
        # `o` and `out` may be the same memory: all of o is read before out is written.
        tl.debug_barrier()
    for j in tl.static_range(NC):
        tile = y[j] + load_vector(b2_ptr, j * CK, C, CK, ACC)[None, :]  # (P,CK)
        store_tile(out_ptr, o_c, j * CK, C, at, inside, tile, CK)


@triton.jit
def temporal_block_mlp_kernel(
    x_ptr,  # (B,C,T,HW) by strides
    o_ptr,  # (B,C,T,HW) contiguous, DOT
    out_ptr,  # (B,C,T,HW) contiguous
    wo_ptr,  # (C,C)
    bo_ptr,  # (C,)
    gamma_ptr,  # (C,)
    beta_ptr,  # (C,)
    w1_ptr,  # (R,C)
    b1_ptr,  # (R,)
    w2_ptr,  # (C,R)
    b2_ptr,  # (C,)
    stride_xb, stride_xc, stride_xt,
    HW, C, R, eps,
    P: tl.constexpr, NC: tl.constexpr, CK: tl.constexpr, RK: tl.constexpr, DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Run `mlp` at P pixels of one frame."""
    at = tl.program_id(0) * P + tl.arange(0, P)  # (P,)
    t, batch = tl.cast(tl.program_id(1), tl.int64), tl.cast(tl.program_id(2), tl.int64)
    o_c = tl.cast(HW, tl.int64) * tl.num_programs(1)
    frame = batch * C * o_c + t * HW
    x = x_ptr + batch * stride_xb + t * stride_xt
    mlp(
        x, stride_xc, o_ptr + frame, out_ptr + frame, o_c, C, R, eps, at, at < HW,
        wo_ptr, bo_ptr, gamma_ptr, beta_ptr, w1_ptr, b1_ptr, w2_ptr, b2_ptr, False, P, NC, CK, RK, DOT, ACC,
    )  # fmt: skip
