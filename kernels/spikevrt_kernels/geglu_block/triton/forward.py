"""The forward pass in one kernel: x (and, in a fusion, the aligned frames) is read, out is written."""

import triton
import triton.language as tl

from spikevrt_kernels.core.triton_math import add_dot
from spikevrt_kernels.core.triton_tiles import gelu, load_rows, load_vector, load_weight, store_rows, zero_tiles
from spikevrt_kernels.geglu_block.triton.tiles import hidden_pair, load_scale, normed_chunks, places

NUMBERS = ["M", "per_sample", "HW", "T", "half"]
"""Rows of x and of a sample; in a fusion pixels of a frame, frames of a clip, rows of each half of the aligned frames.

They change with the clip, and no binary is compiled for one of their values.
"""


@triton.jit(do_not_specialize=NUMBERS)
def geglu_block_fwd_kernel(
    x_ptr,  # (M,C)
    aligned_ptr,  # (2,B,T-1,HW,C), or None
    out_ptr,  # (M,C), written
    gamma_ptr,  # (C,), or None without a norm
    beta_ptr,  # (C,), or None
    w11_ptr,  # (R,Cin) DOT
    b11_ptr,  # (R,)
    w12_ptr,  # (R,Cin) DOT
    b12_ptr,  # (R,)
    w2_ptr,  # (C,R) DOT
    b2_ptr,  # (C,)
    scale_ptr,  # (B,), or None
    M, per_sample, HW, T, half, eps,
    C: tl.constexpr, R: tl.constexpr, P: tl.constexpr, NC: tl.constexpr, CK: tl.constexpr, RK: tl.constexpr,
    DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Compute P rows of out: of a fusion if there are aligned frames, else of the block with its residual."""
    FUSE: tl.constexpr = aligned_ptr is not None
    row = tl.program_id(0) * P + tl.arange(0, P)  # (P,)
    inside = row < M
    rows, exist = places(row, inside, HW, T, half, FUSE)
    z = ()
    if not FUSE:
        z, _, _ = normed_chunks(x_ptr, gamma_ptr, beta_ptr, rows[0], inside, C, eps, NC, CK, DOT, ACC)
    y = zero_tiles(NC, P, CK, ACC)  # NC of (P,CK)
    for r in tl.range(0, R, RK, disable_licm=True):
        a, b = hidden_pair(
            z, x_ptr, aligned_ptr, rows, exist, w11_ptr, b11_ptr, w12_ptr, b12_ptr, r, R, C, P, NC, CK, RK, DOT, ACC
        )  # (P,RK), (P,RK)
        h = (gelu(a) * b).to(DOT)  # (P,RK)
        new = ()
        for j in tl.static_range(NC):
            w = load_weight(w2_ptr, j * CK, C, r, R, R, CK, RK)  # (CK,RK)
            new = new + (add_dot(y[j], h, tl.trans(w), DOT, ACC),)
        y = new
    for j in tl.static_range(NC):
        tile = y[j] + load_vector(b2_ptr, j * CK, C, CK, ACC)[None, :]  # (P,CK)
        if scale_ptr is not None:
            tile *= load_scale(scale_ptr, row, inside, per_sample, ACC)[:, None]
        if not FUSE:
            # Read again, from the cache: kept through the loop, x would cost the registers of another sum.
            tile += load_rows(x_ptr, rows[0], inside, j * CK, C, C, CK).to(ACC)
        store_rows(out_ptr, rows[0], inside, j * CK, C, C, tile, CK)
