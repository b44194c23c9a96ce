"""Gradient of x through LN(x) W^T + b; sums of the weights' gradients follow in a kernel of their own."""

import triton
import triton.language as tl

from spikevrt_kernels.core.triton_math import add_dot
from spikevrt_kernels.core.triton_tiles import (
    chunk_stats,
    load_chunks,
    load_rows,
    load_vector,
    load_weight,
    row_stats,
    store_rows,
    zero_tiles,
)


@triton.jit
def kept_gradient(
    x_ptr,  # (rows,C)
    grad_ptr,  # (rows,N) DOT
    dx_ptr,  # (rows,C)
    gamma_ptr,  # (C,)
    w_ptr,  # (N,C) DOT
    row, inside,  # (P,) each
    C, N, n_end, eps,
    P: tl.constexpr, NC: tl.constexpr, CK: tl.constexpr, NK: tl.constexpr, DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Write dx; the gradient of LN(x) stays in registers. Returns mean and rstd, (P,) each."""
    dz = zero_tiles(NC, P, CK, ACC)  # NC of (P,CK)
    for n in tl.range(0, n_end, NK, disable_licm=True):
        grad = load_rows(grad_ptr, row, inside, n, N, N, NK)  # (P,NK)
        new = ()
        for j in tl.static_range(NC):
            new = new + (add_dot(dz[j], grad, load_weight(w_ptr, n, N, j * CK, C, C, NK, CK), DOT, ACC),)
        dz = new
    x = load_chunks(x_ptr, row, inside, C, NC, CK, ACC)  # NC of (P,CK)
    mean, rstd = chunk_stats(x, C, eps, NC, CK, ACC)  # (P,), (P,)
    first, second = tl.zeros((P,), ACC), tl.zeros((P,), ACC)  # (P,) sums of dxhat and of dxhat (x - mean)
    for j in tl.static_range(NC):
        d_xhat = dz[j] * load_vector(gamma_ptr, j * CK, C, CK, ACC)[None, :]  # (P,CK)
        first += tl.sum(d_xhat, 1)
        second += tl.sum(d_xhat * (x[j] - mean[:, None]), 1)
    first, second = first / C, second / C * rstd * rstd
    for j in tl.static_range(NC):
        d_xhat = dz[j] * load_vector(gamma_ptr, j * CK, C, CK, ACC)[None, :]  # (P,CK)
        dx = (d_xhat - first[:, None] - (x[j] - mean[:, None]) * second[:, None]) * rstd[:, None]
        store_rows(dx_ptr, row, inside, j * CK, C, C, dx, CK)
    return mean, rstd


@triton.jit
def wide_d_xhat(
    grad_ptr,  # (rows,N) DOT
    gamma_ptr,  # (C,)
    w_ptr,  # (N,C) DOT
    row, inside,  # (P,) each
    c, C, N, n_end,
    P: tl.constexpr, CK: tl.constexpr, NK: tl.constexpr, DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Gradient of the normed channels c .. c+CK: (P,CK)."""
    dz = tl.zeros((P, CK), ACC)  # (P,CK)
    for n in tl.range(0, n_end, NK, disable_licm=True):
        grad = load_rows(grad_ptr, row, inside, n, N, N, NK)  # (P,NK)
        dz = add_dot(dz, grad, load_weight(w_ptr, n, N, c, C, C, NK, CK), DOT, ACC)
    return dz * load_vector(gamma_ptr, c, C, CK, ACC)[None, :]


@triton.jit
def wide_gradient(
    x_ptr,  # (rows,C)
    grad_ptr,  # (rows,N) DOT
    dx_ptr,  # (rows,C)
    gamma_ptr,  # (C,)
    w_ptr,  # (N,C) DOT
    row, inside,  # (P,) each
    C, N, n_end, c_end, eps,
    P: tl.constexpr, CK: tl.constexpr, NK: tl.constexpr, DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """As `kept_gradient`, for rows that are too wide for registers: each chunk's product is computed twice."""
    mean, rstd = row_stats(x_ptr, row, inside, C, c_end, eps, P, CK, ACC)  # (P,), (P,)
    first, second = tl.zeros((P,), ACC), tl.zeros((P,), ACC)  # (P,) sums of dxhat and of dxhat (x - mean)
    for c in tl.range(0, c_end, CK, disable_licm=True):
        d_xhat = wide_d_xhat(grad_ptr, gamma_ptr, w_ptr, row, inside, c, C, N, n_end, P, CK, NK, DOT, ACC)
        x = load_rows(x_ptr, row, inside, c, C, C, CK).to(ACC)  # (P,CK)
        first += tl.sum(d_xhat, 1)
        second += tl.sum(d_xhat * (x - mean[:, None]), 1)
    first, second = first / C, second / C * rstd * rstd
    for c in tl.range(0, c_end, CK, disable_licm=True):
        d_xhat = wide_d_xhat(grad_ptr, gamma_ptr, w_ptr, row, inside, c, C, N, n_end, P, CK, NK, DOT, ACC)
        x = load_rows(x_ptr, row, inside, c, C, C, CK).to(ACC)  # (P,CK)
        dx = (d_xhat - first[:, None] - (x - mean[:, None]) * second[:, None]) * rstd[:, None]
        store_rows(dx_ptr, row, inside, c, C, C, dx, CK)
    return mean, rstd


@triton.jit(do_not_specialize=["rows"])
def norm_linear_bwd_dx_kernel(
    x_ptr,  # (rows,C)
    grad_ptr,  # (rows,N) DOT
    dx_ptr,  # (rows,C)
    stats_ptr,  # (2,rows) ACC: mean and rstd, written
    gamma_ptr,  # (C,)
    w_ptr,  # (N,C) DOT
    rows, n_end, c_end, eps,
    C: tl.constexpr, N: tl.constexpr, KEPT: tl.constexpr, P: tl.constexpr, NC: tl.constexpr, CK: tl.constexpr,
    NK: tl.constexpr, DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """P rows of dx, and their statistics; `n_end` and `c_end` as in the forward."""
    row = tl.cast(tl.program_id(0), tl.int64) * P + tl.arange(0, P)  # (P,)
    inside = row < rows
    if KEPT:
        mean, rstd = kept_gradient(
            x_ptr, grad_ptr, dx_ptr, gamma_ptr, w_ptr, row, inside, C, N, n_end, eps, P, NC, CK, NK, DOT, ACC
        )  # fmt: skip
    else:
        mean, rstd = wide_gradient(
            x_ptr, grad_ptr, dx_ptr, gamma_ptr, w_ptr, row, inside, C, N, n_end, c_end, eps, P, CK, NK, DOT, ACC
        )  # fmt: skip
    tl.store(stats_ptr + row, mean, mask=inside)
    tl.store(stats_ptr + rows + row, rstd, mask=inside)
