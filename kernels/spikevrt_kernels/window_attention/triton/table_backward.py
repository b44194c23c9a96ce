"""Gradient of the bias table from ds, the sums over windows: sums over pairs of one offset."""

import triton
import triton.language as tl

from spikevrt_kernels.window_attention.triton.tokens import SIZES


@triton.jit(do_not_specialize=SIZES)
def window_attention_bwd_table_kernel(
    ds_ptr,  # (HEADS,TOKENS,TOKENS)
    dtable_ptr,  # (rows,HEADS)
    rows,
    HEADS: tl.constexpr, BD: tl.constexpr, BH: tl.constexpr, BW: tl.constexpr, TOKENS: tl.constexpr, OWN: tl.constexpr,
    PASSING: tl.constexpr,
):  # fmt: skip
    """Compute OWN rows of dtable for one head: the sum of ds over all queries and the key at each row's offset."""
    row = tl.program_id(0) * OWN + tl.arange(0, OWN)  # (OWN,)
    head = tl.program_id(1)
    d = row // ((2 * BH - 1) * (2 * BW - 1)) - (BD - 1)
    h, w = row // (2 * BW - 1) % (2 * BH - 1) - (BH - 1), row % (2 * BW - 1) - (BW - 1)
    ds = ds_ptr + tl.cast(head, tl.int64) * TOKENS * TOKENS
    total = tl.zeros((OWN,), ds_ptr.dtype.element_ty)
    for start in tl.range(0, TOKENS, PASSING, disable_licm=True):
        query = start + tl.arange(0, PASSING)  # (PASSING,)
        key_d = (query // (BH * BW))[None, :] - d[:, None]  # (OWN,PASSING)
        key_h, key_w = (query // BW % BH)[None, :] - h[:, None], (query % BW)[None, :] - w[:, None]
        key = (key_d * BH + key_h) * BW + key_w
        inside = (key_d >= 0) & (key_h >= 0) & (key_h < BH) & (key_w >= 0) & (key_w < BW) & (key < TOKENS)
        inside &= (query < TOKENS)[None, :] & (row < rows)[:, None]
        total += tl.sum(tl.load(ds + query[None, :] * TOKENS + key, mask=inside, other=0.0), 1)
    tl.store(dtable_ptr + row * HEADS + head, total.to(dtable_ptr.dtype.element_ty), mask=row < rows)
