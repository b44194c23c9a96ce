"""Backward of y = x + o Wo^T + bo; out = y + GELU(LN(y) W1^T + b1) W2^T + b2.

Everything is recomputed from x and o. There are two kernels, because the sums of all weight gradients do not fit the
registers of one: the first computes dy and the gradients of Wo and the norm, the second those of W1 and W2. The first
also writes LN(y), which the second would otherwise recompute for each of its parts of the hidden channels. A program
walks over many tiles with its sums in registers and writes them once, to a row of its own: there are no atomics, and
the bits are always the same. Tiles hold all channels, padded to CP: a flat tile (P < CP) is spread over the warps along
its channels, while several warps would each keep a tall one.
"""

import triton
import triton.language as tl

from spikevrt_kernels.core.triton_math import add_dot, zero_vectors
from spikevrt_kernels.core.triton_tiles import (
    gelu,
    gelu_slope,
    load_vector,
    load_weight,
    norm_backward,
    store_sums,
    store_vector,
    tile_stats,
    zero_tiles,
)
from spikevrt_kernels.temporal_block.triton.tiles import load_tile, store_tile


@triton.jit
def residual_tile(
    x_ptr,  # (C,HW) of a frame, channels `stride_xc` apart
    stride_xc,
    o_ptr,  # (C,HW) of a frame, channels `o_c` apart
    o_c, C, at, inside,
    wo_ptr,  # (C,C)
    bo_ptr,  # (C,)
    P: tl.constexpr, CP: tl.constexpr, CK: tl.constexpr, DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """y = x + o Wo^T + bo of one frame: (P,CP) in ACC."""
    y = tl.zeros((P, CP), ACC)  # (P,CP)
    for c in tl.range(0, C, CK, disable_licm=True):
        w = load_weight(wo_ptr, 0, C, c, C, C, CP, CK)  # (CP,CK)
        y = add_dot(y, load_tile(o_ptr, o_c, c, C, at, inside, CK), tl.trans(w), DOT, ACC)
    y += load_vector(bo_ptr, 0, C, CP, ACC)[None, :]
    return y + load_tile(x_ptr, stride_xc, 0, C, at, inside, CP).to(ACC)


@triton.jit
def hidden(
    z,  # (P,CP) DOT
    w1_ptr,  # (R,C)
    b1_ptr,  # (R,)
    r, R, C,
    P: tl.constexpr, CP: tl.constexpr, RK: tl.constexpr, DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """z W1^T + b1 for the hidden channels r .. r+RK: (P,RK) in ACC; also those rows of W1 (RK,CP)."""
    w = load_weight(w1_ptr, r, R, 0, C, C, RK, CP)  # (RK,CP)
    a = add_dot(tl.zeros((P, RK), ACC), z, tl.trans(w), DOT, ACC)  # (P,RK)
    return a + load_vector(b1_ptr, r, R, RK, ACC)[None, :], w


@triton.jit
def hidden_gradient(
    grad,  # (P,CP)
    w2_ptr,  # (C,R)
    r, R, C,
    P: tl.constexpr, CP: tl.constexpr, RK: tl.constexpr, DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """dout W2 for the hidden channels r .. r+RK: (P,RK) in ACC."""
    w = load_weight(w2_ptr, 0, C, r, R, R, CP, RK)  # (CP,RK)
    return add_dot(tl.zeros((P, RK), ACC), grad, w, DOT, ACC)


@triton.jit(do_not_specialize=["B"])
def temporal_block_bwd_dy_kernel(
    x_ptr,  # (B,C,T,HW) by strides
    o_ptr,  # (B,C,T,HW) contiguous, DOT
    grad_ptr,  # (B,C,T,HW) by strides
    z_ptr,  # (B,C,T,HW) contiguous, DOT: LN(y), written
    dy_ptr,  # (B,C,T,HW) contiguous
    sums_ptr,  # (programs,C*C+3C) ACC: dWo, dbo, dgamma, dbeta
    wo_ptr,  # (C,C)
    bo_ptr,  # (C,)
    gamma_ptr,  # (C,)
    beta_ptr,  # (C,)
    w1_ptr,  # (R,C)
    b1_ptr,  # (R,)
    w2_ptr,  # (C,R)
    stride_xb, stride_xc, stride_xt, stride_gb, stride_gc, stride_gt,
    HW, B, C, R, eps,
    T: tl.constexpr, P: tl.constexpr, NC: tl.constexpr, CK: tl.constexpr, CP: tl.constexpr, RK: tl.constexpr,
    DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Compute dy, and the gradients of Wo, bo and the norm."""
    in_frame = tl.cdiv(HW, P)
    o_c = tl.cast(HW, tl.int64) * T
    d_wo = zero_tiles(NC, CK, CP, ACC)  # NC of (CK,CP): dWo transposed
    d_bo, d_gamma, d_beta = tl.zeros((CP,), ACC), tl.zeros((CP,), ACC), tl.zeros((CP,), ACC)  # (CP,)
    for tile in tl.range(tl.program_id(0), in_frame * T * B, tl.num_programs(0), disable_licm=True):
        at = (tile % in_frame) * P + tl.arange(0, P)  # (P,)
        inside = at < HW
        t, batch = tl.cast(tile // in_frame % T, tl.int64), tl.cast(tile // in_frame // T, tl.int64)
        frame = batch * C * o_c + t * HW
        x = x_ptr + batch * stride_xb + t * stride_xt
        o = o_ptr + frame
        y = residual_tile(x, stride_xc, o, o_c, C, at, inside, wo_ptr, bo_ptr, P, CP, CK, DOT, ACC)  # (P,CP)
        mean, rstd = tile_stats(y, C, eps, CP)  # (P,), (P,)
        yhat = (y - mean[:, None]) * rstd[:, None]
        gamma, beta = load_vector(gamma_ptr, 0, C, CP, ACC), load_vector(beta_ptr, 0, C, CP, ACC)  # (CP,)
        z = (yhat * gamma[None, :] + beta[None, :]).to(DOT)  # (P,CP)
        store_tile(z_ptr + frame, o_c, 0, C, at, inside, z, CP)
        grad = load_tile(grad_ptr + batch * stride_gb + t * stride_gt, stride_gc, 0, C, at, inside, CP)  # (P,CP)
        dz = tl.zeros((P, CP), ACC)  # (P,CP)
        for r in tl.range(0, R, RK, disable_licm=True):
            a, w = hidden(z, w1_ptr, b1_ptr, r, R, C, P, CP, RK, DOT, ACC)  # (P,RK), (RK,CP)
            g = hidden_gradient(grad, w2_ptr, r, R, C, P, CP, RK, DOT, ACC)  # (P,RK)
            dz = add_dot(dz, g * gelu_slope(a), w, DOT, ACC)
        dy = norm_backward(dz * gamma[None, :], yhat, rstd, C) + grad.to(ACC)  # (P,CP)
        dy = tl.where(inside[:, None] & (tl.arange(0, CP) < C)[None, :], dy, 0.0)
        store_tile(dy_ptr + frame, o_c, 0, C, at, inside, dy, CP)
        d_bo += tl.sum(dy, 0)
        d_gamma += tl.sum(dz * yhat, 0)
        d_beta += tl.sum(dz, 0)
        # Computing dWo by rows of Wo would split dy in registers; by columns, o is read again, one chunk at a time.
        new_wo = ()
        for c in tl.static_range(NC):
            o_turned = tl.trans(load_tile(o, o_c, c * CK, C, at, inside, CK))  # (CK,P)
            new_wo = new_wo + (add_dot(d_wo[c], o_turned, dy, DOT, ACC),)
        d_wo = new_wo
    sums = sums_ptr + tl.cast(tl.program_id(0), tl.int64) * (C * C + 3 * C)
    for c in tl.static_range(NC):
        store_sums(sums, d_wo[c], c * CK, C, 0, C, C, CK, CP)
    store_vector(sums + C * C, d_bo, 0, C, CP)
    store_vector(sums + C * C + C, d_gamma, 0, C, CP)
    store_vector(sums + C * C + 2 * C, d_beta, 0, C, CP)


@triton.jit(do_not_specialize=["B"])
def temporal_block_bwd_mlp_kernel(
    z_ptr,  # (B,C,T,HW) contiguous, DOT
    grad_ptr,  # (B,C,T,HW) by strides
    sums_ptr,  # (programs,2*C*R+R+C) ACC: dW1 (R,C), dW2^T (R,C), db1, db2
    w1_ptr,  # (R,C)
    b1_ptr,  # (R,)
    w2_ptr,  # (C,R)
    stride_gb, stride_gc, stride_gt,
    HW, B, C, R,
    T: tl.constexpr, P: tl.constexpr, CP: tl.constexpr, RK: tl.constexpr, SLICES: tl.constexpr, DOT: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    """Compute the gradients of W1, b1, W2, b2; axis 1 of the grid divides the hidden channels, SLICES of RK each."""
    in_frame = tl.cdiv(HW, P)
    z_c = tl.cast(HW, tl.int64) * T
    start = tl.program_id(1) * SLICES * RK
    d_w1, d_w2 = zero_tiles(SLICES, RK, CP, ACC), zero_tiles(SLICES, RK, CP, ACC)  # each SLICES of (RK,CP)
    d_b1, d_b2 = zero_vectors(SLICES, RK, ACC), tl.zeros((CP,), ACC)  # SLICES of (RK,), (CP,)
    for tile in tl.range(tl.program_id(0), in_frame * T * B, tl.num_programs(0), disable_licm=True):
        at = (tile % in_frame) * P + tl.arange(0, P)  # (P,)
        inside = at < HW
        t, batch = tl.cast(tile // in_frame % T, tl.int64), tl.cast(tile // in_frame // T, tl.int64)
        z = load_tile(z_ptr + batch * C * z_c + t * HW, z_c, 0, C, at, inside, CP)  # (P,CP)
        grad = load_tile(grad_ptr + batch * stride_gb + t * stride_gt, stride_gc, 0, C, at, inside, CP)  # (P,CP)
        d_b2 += tl.sum(grad.to(ACC), 0)
        new_w1, new_w2, new_b1 = (), (), ()
        for s in tl.static_range(SLICES):
            r = start + s * RK
            a, _ = hidden(z, w1_ptr, b1_ptr, r, R, C, P, CP, RK, DOT, ACC)  # (P,RK)
            da = hidden_gradient(grad, w2_ptr, r, R, C, P, CP, RK, DOT, ACC) * gelu_slope(a)  # (P,RK)
            new_b1 = new_b1 + (d_b1[s] + tl.sum(da, 0),)
            new_w1 = new_w1 + (add_dot(d_w1[s], tl.trans(da), z, DOT, ACC),)
            new_w2 = new_w2 + (add_dot(d_w2[s], tl.trans(gelu(a)), grad, DOT, ACC),)
        d_w1, d_w2, d_b1 = new_w1, new_w2, new_b1
    sums = sums_ptr + tl.cast(tl.program_id(0), tl.int64) * (2 * C * R + R + C)
    for s in tl.static_range(SLICES):
        r = start + s * RK
        store_sums(sums, d_w1[s], r, R, 0, C, C, RK, CP)
        store_sums(sums + C * R, d_w2[s], r, R, 0, C, C, RK, CP)
        store_vector(sums + 2 * C * R, d_b1[s], r, R, RK)
    if tl.program_id(1) == 0:
        store_vector(sums + 2 * C * R + R, d_b2, 0, C, CP)
