"""The backward pass in two kernels, which recompute the hidden channels from the inputs.

The sums of all weight gradients do not fit the registers beside the gradient of a tile, so the first kernel computes
dx (in a fusion also that of the aligned frames) and the gradients of the norm and of b2, and the second those of the
three layers. Its programs divide the hidden channels: each reads the features again, and keeps the sums of its own
channels. A program walks over many tiles and writes its sums once, to a row of its own: there are no atomics, and the
bits are always the same. The scale of a sample multiplies the gradient of the hidden channels instead of dout, which
is read from the cache where it is used.
"""

import triton
import triton.language as tl

from spikevrt_kernels.core.triton_math import add_dot, zero_vectors
from spikevrt_kernels.core.triton_tiles import (
    gelu,
    gelu_slope,
    load_rows,
    load_vector,
    load_weight,
    store_rows,
    store_sums,
    store_vector,
    zero_tiles,
)
from spikevrt_kernels.geglu_block.triton.forward import NUMBERS
from spikevrt_kernels.geglu_block.triton.tiles import hidden_pair, load_input, load_scale, normed_chunks, places


@triton.jit
def hidden_gradient(
    grad_ptr,  # (M,C)
    w2_ptr,  # (C,R) DOT
    row, inside, r, R, C,
    P: tl.constexpr, NC: tl.constexpr, CK: tl.constexpr, RK: tl.constexpr, DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """dout W2 for the hidden channels r .. r+RK: (P,RK) in ACC."""
    dh = tl.zeros((P, RK), ACC)  # (P,RK)
    for j in tl.static_range(NC):
        w = load_weight(w2_ptr, j * CK, C, r, R, R, CK, RK)  # (CK,RK)
        dh = add_dot(dh, load_rows(grad_ptr, row, inside, j * CK, C, C, CK), w, DOT, ACC)
    return dh


@triton.jit
def normalised(x_ptr, row, inside, mean, rstd, C, j: tl.constexpr, CK: tl.constexpr, ACC: tl.constexpr):
    """Chunk j of (x - mean) / deviation, read again: (P,CK) in ACC."""
    return (load_rows(x_ptr, row, inside, j * CK, C, C, CK).to(ACC) - mean[:, None]) * rstd[:, None]


@triton.jit
def norm_gradient(
    dz,  # NC of (P,CK)
    d_gamma,  # NC of (CK,)
    d_beta,  # NC of (CK,)
    x_ptr,  # (M,C)
    gamma_ptr,  # (C,)
    row, inside, mean, rstd, C,
    NC: tl.constexpr, CK: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """From dz to the gradient of x through the norm: NC of (P,CK); and dgamma, dbeta with what these rows add."""
    first, second = tl.zeros_like(mean), tl.zeros_like(mean)  # (P,)
    new_gamma, new_beta = (), ()
    for j in tl.static_range(NC):
        xhat = normalised(x_ptr, row, inside, mean, rstd, C, j, CK, ACC)  # (P,CK)
        g = dz[j] * load_vector(gamma_ptr, j * CK, C, CK, ACC)[None, :]  # (P,CK)
        first += tl.sum(g, 1)
        second += tl.sum(g * xhat, 1)
        new_gamma = new_gamma + (d_gamma[j] + tl.sum(dz[j] * xhat, 0),)
        new_beta = new_beta + (d_beta[j] + tl.sum(dz[j], 0),)
    first, second = first / C, second / C
    dx = ()
    for j in tl.static_range(NC):
        xhat = normalised(x_ptr, row, inside, mean, rstd, C, j, CK, ACC)  # (P,CK)
        g = dz[j] * load_vector(gamma_ptr, j * CK, C, CK, ACC)[None, :]  # (P,CK)
        dx = dx + ((g - first[:, None] - xhat * second[:, None]) * rstd[:, None],)
    return dx, new_gamma, new_beta


@triton.jit(do_not_specialize=NUMBERS)
def geglu_block_bwd_dx_kernel(
    x_ptr,  # (M,C)
    aligned_ptr,  # (2,B,T-1,HW,C), or None
    grad_ptr,  # (M,C)
    dx_ptr,  # (M,C), written
    daligned_ptr,  # (2,B,T-1,HW,C), written, or None
    sums_ptr,  # (programs,C or 3*C) ACC: db2, and with a norm dgamma, dbeta
    gamma_ptr,  # (C,), or None without a norm
    beta_ptr,  # (C,), or None
    w11_ptr,  # (R,Cin) DOT
    b11_ptr,  # (R,)
    w12_ptr,  # (R,Cin) DOT
    b12_ptr,  # (R,)
    w2_ptr,  # (C,R) DOT
    scale_ptr,  # (B,), or None
    M, per_sample, HW, T, half, eps,
    C: tl.constexpr, R: tl.constexpr, P: tl.constexpr, NC: tl.constexpr, CK: tl.constexpr, RK: tl.constexpr,
    DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Compute the gradients of the inputs and of the norm."""
    FUSE: tl.constexpr = aligned_ptr is not None
    INPUTS: tl.constexpr = 3 if FUSE else 1
    NORM: tl.constexpr = gamma_ptr is not None
    d_b2 = zero_vectors(NC, CK, ACC)  # NC of (CK,)
    d_gamma, d_beta = zero_vectors(NC, CK, ACC), zero_vectors(NC, CK, ACC)  # NC of (CK,)
    for tile in tl.range(tl.program_id(0), tl.cdiv(M, P), tl.num_programs(0), disable_licm=True):
        row = tile * P + tl.arange(0, P)  # (P,)
        inside = row < M
        rows, exist = places(row, inside, HW, T, half, FUSE)
        z, mean, rstd = (), None, None
        if not FUSE:
            z, mean, rstd = normed_chunks(x_ptr, gamma_ptr, beta_ptr, rows[0], inside, C, eps, NC, CK, DOT, ACC)
        dz = zero_tiles(INPUTS * NC, P, CK, ACC)  # INPUTS*NC of (P,CK)
        for r in tl.range(0, R, RK, disable_licm=True):
            a, b = hidden_pair(
                z, x_ptr, aligned_ptr, rows, exist, w11_ptr, b11_ptr, w12_ptr, b12_ptr, r, R, C, P, NC, CK, RK, DOT, ACC
            )  # (P,RK), (P,RK)
            dh = hidden_gradient(grad_ptr, w2_ptr, rows[0], inside, r, R, C, P, NC, CK, RK, DOT, ACC)  # (P,RK)
            if scale_ptr is not None:
                dh *= load_scale(scale_ptr, row, inside, per_sample, ACC)[:, None]
            da, db = (dh * b * gelu_slope(a)).to(DOT), (dh * gelu(a)).to(DOT)  # (P,RK)
            new = ()
            for i in tl.static_range(INPUTS):
                for j in tl.static_range(NC):
                    column, end = i * C + j * CK, (i + 1) * C
                    w11 = load_weight(w11_ptr, r, R, column, end, INPUTS * C, RK, CK)  # (RK,CK)
                    w12 = load_weight(w12_ptr, r, R, column, end, INPUTS * C, RK, CK)  # (RK,CK)
                    added = add_dot(dz[i * NC + j], da, w11, DOT, ACC)
                    new = new + (add_dot(added, db, w12, DOT, ACC),)
            dz = new
        new_b2 = ()
        for j in tl.static_range(NC):
            grad = load_rows(grad_ptr, rows[0], inside, j * CK, C, C, CK).to(ACC)  # (P,CK)
            if scale_ptr is not None:
                grad *= load_scale(scale_ptr, row, inside, per_sample, ACC)[:, None]
            new_b2 = new_b2 + (d_b2[j] + tl.sum(grad, 0),)
        d_b2 = new_b2
        if NORM:
            dz, d_gamma, d_beta = norm_gradient(
                dz, d_gamma, d_beta, x_ptr, gamma_ptr, rows[0], inside, mean, rstd, C, NC, CK, ACC
            )
        for j in tl.static_range(NC):
            dx = dz[j]  # (P,CK)
            if not FUSE:
                dx += load_rows(grad_ptr, rows[0], inside, j * CK, C, C, CK).to(ACC)
            store_rows(dx_ptr, rows[0], inside, j * CK, C, C, dx, CK)
        for i in tl.static_range(1, INPUTS):
            for j in tl.static_range(NC):
                store_rows(daligned_ptr, rows[i], exist[i], j * CK, C, C, dz[i * NC + j], CK)
    WIDTH: tl.constexpr = 3 * C if NORM else C
    sums = sums_ptr + tl.cast(tl.program_id(0), tl.int64) * WIDTH
    for j in tl.static_range(NC):
        store_vector(sums, d_b2[j], j * CK, C, CK)
        if NORM:
            store_vector(sums + C, d_gamma[j], j * CK, C, CK)
            store_vector(sums + 2 * C, d_beta[j], j * CK, C, CK)


@triton.jit
def with_ones(part, C, i: tl.constexpr, j: tl.constexpr, CK: tl.constexpr):
    """Chunk j of input i; in the first input, column C, which is beyond the channels, becomes 1 in each row.

    What multiplies the chunk from the left is then summed over the rows: the gradient of a bias comes as a column of
    the weight's, without registers and shuffles of its own.
    """
    if i == 0 and j == C // CK:
        return tl.where((j * CK + tl.arange(0, CK) == C)[None, :], 1.0, part)  # (P,CK)
    else:
        return part


@triton.jit(do_not_specialize=NUMBERS)
def geglu_block_bwd_weights_kernel(
    x_ptr,  # (M,C)
    aligned_ptr,  # (2,B,T-1,HW,C), or None
    grad_ptr,  # (M,C)
    sums_ptr,  # (programs,2*R*Cin+C*R+2*R) ACC: dW11, dW12, dW2, db11, db12
    gamma_ptr,  # (C,), or None without a norm
    beta_ptr,  # (C,), or None
    w11_ptr,  # (R,Cin) DOT
    b11_ptr,  # (R,)
    w12_ptr,  # (R,Cin) DOT
    b12_ptr,  # (R,)
    w2_ptr,  # (C,R) DOT
    scale_ptr,  # (B,), or None
    M, per_sample, HW, T, half, eps,
    C: tl.constexpr, R: tl.constexpr, P: tl.constexpr, NC: tl.constexpr, CK: tl.constexpr, RK: tl.constexpr,
    SLICES: tl.constexpr, DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Compute the gradients of the three layers; axis 1 of the grid divides the hidden channels, SLICES of RK each."""
    FUSE: tl.constexpr = aligned_ptr is not None
    INPUTS: tl.constexpr = 3 if FUSE else 1
    TILES: tl.constexpr = INPUTS * NC
    start = tl.program_id(1) * SLICES * RK
    d_w11, d_w12 = zero_tiles(SLICES * TILES, RK, CK, ACC), zero_tiles(SLICES * TILES, RK, CK, ACC)  # each (RK,CK)
    d_w2 = zero_tiles(SLICES * NC, RK, CK, ACC)  # SLICES*NC of (RK,CK): dW2 transposed
    for tile in tl.range(tl.program_id(0), tl.cdiv(M, P), tl.num_programs(0), disable_licm=True):
        row = tile * P + tl.arange(0, P)  # (P,)
        inside = row < M
        rows, exist = places(row, inside, HW, T, half, FUSE)
        z = ()
        if not FUSE:
            z, _, _ = normed_chunks(x_ptr, gamma_ptr, beta_ptr, rows[0], inside, C, eps, NC, CK, DOT, ACC)
        new_w11, new_w12, new_w2 = (), (), ()
        for s in tl.static_range(SLICES):
            r = start + s * RK
            a, b = hidden_pair(
                z, x_ptr, aligned_ptr, rows, exist, w11_ptr, b11_ptr, w12_ptr, b12_ptr, r, R, C, P, NC, CK, RK, DOT, ACC
            )  # (P,RK), (P,RK)
            dh = hidden_gradient(grad_ptr, w2_ptr, rows[0], inside, r, R, C, P, NC, CK, RK, DOT, ACC)  # (P,RK)
            gate = gelu(a)  # (P,RK)
            h = gate * b  # (P,RK)
            if scale_ptr is not None:
                scale = load_scale(scale_ptr, row, inside, per_sample, ACC)[:, None]  # (P,1)
                dh, h = dh * scale, h * scale
            da, db = tl.trans((dh * b * gelu_slope(a)).to(DOT)), tl.trans((dh * gate).to(DOT))  # (RK,P)
            h = tl.trans(h.to(DOT))  # (RK,P)
            for i in tl.static_range(INPUTS):
                for j in tl.static_range(NC):
                    part = load_input(x_ptr, aligned_ptr, rows, exist, j * CK, C, i, CK).to(DOT) if FUSE else z[j]
                    part = with_ones(part, C, i, j, CK)  # (P,CK)
                    new_w11 = new_w11 + (add_dot(d_w11[s * TILES + i * NC + j], da, part, DOT, ACC),)
                    new_w12 = new_w12 + (add_dot(d_w12[s * TILES + i * NC + j], db, part, DOT, ACC),)
            for j in tl.static_range(NC):
                grad = load_rows(grad_ptr, rows[0], inside, j * CK, C, C, CK)  # (P,CK)
                new_w2 = new_w2 + (add_dot(d_w2[s * NC + j], h, grad, DOT, ACC),)
        d_w11, d_w12, d_w2 = new_w11, new_w12, new_w2
    width = INPUTS * C
    sums = sums_ptr + tl.cast(tl.program_id(0), tl.int64) * (2 * R * width + C * R + 2 * R)
    biases = sums + 2 * R * width + C * R
    for s in tl.static_range(SLICES):
        r = start + s * RK
        for i in tl.static_range(INPUTS):
            for j in tl.static_range(NC):
                column, end = i * C + j * CK, (i + 1) * C
                store_sums(sums, d_w11[s * TILES + i * NC + j], r, R, column, end, width, RK, CK)
                store_sums(sums + R * width, d_w12[s * TILES + i * NC + j], r, R, column, end, width, RK, CK)
        for j in tl.static_range(NC):
            store_sums(sums + 2 * R * width, tl.trans(d_w2[s * NC + j]), j * CK, C, r, R, R, CK, RK)
        ones = (C // CK * CK + tl.arange(0, CK) == C)[None, :]  # (1,CK)
        store_vector(biases, tl.sum(tl.where(ones, d_w11[s * TILES + C // CK], 0.0), 1), r, R, RK)
        store_vector(biases + R, tl.sum(tl.where(ones, d_w12[s * TILES + C // CK], 0.0), 1), r, R, RK)
