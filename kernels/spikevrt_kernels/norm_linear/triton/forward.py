"""LN(x) W^T + b in one pass over x."""

import triton
import triton.language as tl

from spikevrt_kernels.core.triton_math import add_dot
from spikevrt_kernels.core.triton_tiles import (
    chunk_stats,
    chunks_dot,
    load_chunks,
    load_rows,
    load_turned,
    load_vector,
    norm_chunk,
    norm_chunks,
    row_stats,
    store_rows,
)


@triton.jit
def wide_dot(
    acc,  # (P,NK) ACC
    x_ptr,  # (rows,C)
    row, inside, mean, rstd,  # (P,) each
    gamma_ptr,  # (C,)
    beta_ptr,  # (C,)
    w_ptr,  # (N,C) DOT
    n, N, C, c_end,
    CK: tl.constexpr, NK: tl.constexpr, DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """acc + LN(x) W^T for the rows n .. n+NK of W, with x from memory: (P,NK)."""
    for c in tl.range(0, c_end, CK, disable_licm=True):
        x = load_rows(x_ptr, row, inside, c, C, C, CK).to(ACC)  # (P,CK)
        z = norm_chunk(x, mean, rstd, gamma_ptr, beta_ptr, c, C, CK, ACC)  # (P,CK)
        acc = add_dot(acc, z, load_turned(w_ptr, n, N, c, C, False, NK, CK), DOT, ACC)
    return acc


@triton.jit(do_not_specialize=["rows"])
def norm_linear_kernel(
    x_ptr,  # (rows,C)
    out_ptr,  # (rows,N) DOT
    gamma_ptr,  # (C,)
    beta_ptr,  # (C,)
    w_ptr,  # (N,C) DOT
    bias_ptr,  # (N,) or None
    rows, n_end, c_end, eps,
    C: tl.constexpr, N: tl.constexpr, KEPT: tl.constexpr, P: tl.constexpr, NC: tl.constexpr, CK: tl.constexpr,
    NK: tl.constexpr, DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """P rows of LN(x) W^T + b; KEPT: their LN(x) stays in registers while W passes by, NK of its rows at a time.

    `n_end` and `c_end` are N and C again: numbers, because LLVM would unroll a loop over a constant.
    """
    row = tl.cast(tl.program_id(0), tl.int64) * P + tl.arange(0, P)  # (P,)
    inside = row < rows
    if KEPT:
        x = load_chunks(x_ptr, row, inside, C, NC, CK, ACC)  # NC of (P,CK)
        mean, rstd = chunk_stats(x, C, eps, NC, CK, ACC)  # (P,), (P,)
        z = norm_chunks(x, mean, rstd, gamma_ptr, beta_ptr, C, NC, CK, DOT, ACC)  # NC of (P,CK)
    else:
        mean, rstd = row_stats(x_ptr, row, inside, C, c_end, eps, P, CK, ACC)  # (P,), (P,)
    for n in tl.range(0, n_end, NK, disable_licm=True):
        acc = tl.zeros((P, NK), ACC)  # (P,NK)
        if KEPT:
            acc = chunks_dot(acc, z, w_ptr, n, N, C, False, NC, CK, NK, DOT, ACC)
        else:
            acc = wide_dot(
                acc, x_ptr, row, inside, mean, rstd, gamma_ptr, beta_ptr, w_ptr, n, N, C, c_end, CK, NK, DOT, ACC
            )  # fmt: skip
        if bias_ptr is not None:
            acc += load_vector(bias_ptr, n, N, NK, ACC)[None, :]
        store_rows(out_ptr, row, inside, n, N, N, acc, NK)
