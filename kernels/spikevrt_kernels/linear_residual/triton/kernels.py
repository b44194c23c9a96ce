"""x + scale (a W^T + b) in one pass over x and a; without x and b, with W turned, the gradient of a."""

import triton
import triton.language as tl

from spikevrt_kernels.core.triton_math import add_dot
from spikevrt_kernels.core.triton_tiles import (
    chunks_dot,
    load_chunks,
    load_rows,
    load_turned,
    load_vector,
    store_rows,
)


@triton.jit(do_not_specialize=["rows", "of_sample"])
def linear_residual_kernel(
    a_ptr,  # (rows,C)
    x_ptr,  # (rows,N), or None
    out_ptr,  # (rows,N)
    w_ptr,  # (N,C) DOT, or (C,N) if TURNED
    bias_ptr,  # (N,) or None
    scale_ptr,  # (rows/of_sample,): a factor for each sample, or None
    rows, of_sample, n_end, c_end,
    C: tl.constexpr, N: tl.constexpr, TURNED: tl.constexpr, KEPT: tl.constexpr, P: tl.constexpr, NC: tl.constexpr,
    CK: tl.constexpr, NK: tl.constexpr, DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """P rows of the output; KEPT: those of a stay in registers while W passes by, NK outputs at a time.

    `n_end` and `c_end` are N and C again: numbers, because LLVM would unroll a loop over a constant.
    """
    row = tl.cast(tl.program_id(0), tl.int64) * P + tl.arange(0, P)  # (P,)
    inside = row < rows
    if scale_ptr is not None:
        scale = tl.load(scale_ptr + row // of_sample, mask=inside, other=0.0).to(ACC)  # (P,)
    if KEPT:
        a = load_chunks(a_ptr, row, inside, C, NC, CK, DOT)  # NC of (P,CK)
    for n in tl.range(0, n_end, NK, disable_licm=True):
        acc = tl.zeros((P, NK), ACC)  # (P,NK)
        if KEPT:
            acc = chunks_dot(acc, a, w_ptr, n, N, C, TURNED, NC, CK, NK, DOT, ACC)
        else:
            for c in tl.range(0, c_end, CK, disable_licm=True):
                w = load_turned(w_ptr, n, N, c, C, TURNED, NK, CK)  # (CK,NK)
                acc = add_dot(acc, load_rows(a_ptr, row, inside, c, C, C, CK), w, DOT, ACC)
        if bias_ptr is not None:
            acc += load_vector(bias_ptr, n, N, NK, ACC)[None, :]
        if scale_ptr is not None:
            acc *= scale[:, None]
        if x_ptr is not None:
            acc += load_rows(x_ptr, row, inside, n, N, N, NK).to(ACC)
        store_rows(out_ptr, row, inside, n, N, N, acc, NK)
