"""Backward of LN(x) W^T + b: the gradient of x, and those of W, b and the norm, in one pass."""

import triton
import triton.language as tl

from spikevrt_kernels.accumulators import zero_vectors
from spikevrt_kernels.dots import add_dot
from spikevrt_kernels.temporal_block.kernels.tiles import (
    load_tile,
    load_vector,
    load_weight,
    store_sums,
    store_tile,
    store_vector,
    zero_tiles,
)


@triton.jit
def temporal_block_bwd_project_kernel(
    x_ptr,  # (B,C,T,HW) by strides
    grad_ptr,  # (B,G*C,T,HW) contiguous, DOT
    residual_ptr,  # (B,C,T,HW) contiguous: added to dx; or None
    dx_ptr,  # (B,C,T,HW) contiguous
    sums_ptr,  # (programs,G*C*C+G*C+2C) ACC: dW, db, dgamma, dbeta
    w_ptr,  # (G*C,C)
    gamma_ptr,  # (C,)
    beta_ptr,  # (C,)
    stats_ptr,  # (2,B,T,HW) ACC
    stride_xb,
    stride_xc,
    stride_xt,
    HW,
    B,
    C,
    T: tl.constexpr,
    G: tl.constexpr,
    P: tl.constexpr,
    NC: tl.constexpr,
    CK: tl.constexpr,
    CP: tl.constexpr,
    DOT: tl.constexpr,
    ACC: tl.constexpr,
):
    """dx = residual + LN'(grad W); a program walks over many tiles with its sums in registers."""
    in_frame = tl.cdiv(HW, P)
    x_c = tl.cast(HW, tl.int64) * T
    d_w, d_b = zero_tiles(G * NC, CK, CP, ACC), zero_vectors(G * NC, CK, ACC)
    d_gamma, d_beta = tl.zeros((CP,), ACC), tl.zeros((CP,), ACC)
    for tile in tl.range(tl.program_id(0), in_frame * T * B, tl.num_programs(0), disable_licm=True):
        at = (tile % in_frame) * P + tl.arange(0, P)
        inside = at < HW
        t, batch = tl.cast(tile // in_frame % T, tl.int64), tl.cast(tile // in_frame // T, tl.int64)
        grad = grad_ptr + batch * G * C * x_c + t * HW
        frame = batch * C * x_c + t * HW
        stats = stats_ptr + (batch * T + t) * HW + at
        mean = tl.load(stats, mask=inside, other=0.0)
        rstd = tl.load(stats + B * x_c, mask=inside, other=0.0)
        gamma, beta = load_vector(gamma_ptr, 0, C, CP, ACC), load_vector(beta_ptr, 0, C, CP, ACC)
        x = load_tile(x_ptr + batch * stride_xb + t * stride_xt, stride_xc, 0, C, at, inside, CP).to(ACC)
        xhat = (x - mean[:, None]) * rstd[:, None]
        normed = (xhat * gamma[None, :] + beta[None, :]).to(DOT)
        dz = tl.zeros((P, CP), ACC)
        new_w, new_b = (), ()
        for n in tl.static_range(G * NC):
            first, end = n // NC * C + n % NC * CK, (n // NC + 1) * C
            g = load_tile(grad, x_c, first, end, at, inside, CK)
            dz = add_dot(dz, g, load_weight(w_ptr, first, end, 0, C, C, CK, CP), DOT, ACC)
            new_w = new_w + (add_dot(d_w[n], tl.trans(g), normed, DOT, ACC),)
            new_b = new_b + (d_b[n] + tl.sum(g.to(ACC), 0),)
        d_w, d_b = new_w, new_b
        d_gamma += tl.sum(dz * xhat, 0)
        d_beta += tl.sum(dz, 0)
        # Layer norm: dx = rstd (g - mean(g) - xhat mean(g xhat)), g = gamma dz.
        dz *= gamma[None, :]
        centre, slope = tl.sum(dz, 1) / C, tl.sum(dz * xhat, 1) / C
        dx = (dz - centre[:, None] - xhat * slope[:, None]) * rstd[:, None]
        if residual_ptr is not None:
            dx += load_tile(residual_ptr + frame, x_c, 0, C, at, inside, CP).to(ACC)
        store_tile(dx_ptr + frame, x_c, 0, C, at, inside, dx, CP)
    sums = sums_ptr + tl.cast(tl.program_id(0), tl.int64) * (G * C * C + G * C + 2 * C)
    for n in tl.static_range(G * NC):
        first, end = n // NC * C + n % NC * CK, (n // NC + 1) * C
        store_sums(sums, d_w[n], first, end, 0, C, C, CK, CP)
        store_vector(sums + G * C * C, d_b[n], first, end, CK)
    store_vector(sums + G * C * C + G * C, d_gamma, 0, C, CP)
    store_vector(sums + G * C * C + G * C + C, d_beta, 0, C, CP)
