"""Scores of two tiles of tokens in base 2, and the tiles of the relative bias that they begin with.

Everything here is times log2(e), so that a softmax takes exp2, which is one instruction: the bias when it is expanded,
q when it is loaded. Every window of a head reads the same bias: it is expanded from the table once, to a matrix of
SPAN x SPAN tokens (whole tiles), -inf for keys that do not exist, and begins the accumulator of q k^T.

Numbers stand where they are used: if helpers took them from a module's constants, Triton's keys of binaries would
depend on which kernel was compiled first, and what was compiled ahead would not be found.
"""

import triton
import triton.language as tl

from spikevrt_kernels.core.triton_math import add_dot


@triton.jit
def bias_code(token, BH: tl.constexpr, BW: tl.constexpr):
    """A number whose difference for two tokens is their offset in rows of the table of a window (.,BH,BW)."""
    return (token // (BH * BW) * (2 * BH - 1) + token // BW % BH) * (2 * BW - 1) + token % BW


@triton.jit
def window_attention_bias_kernel(
    table_ptr,  # ((2BD-1)*(2BH-1)*(2BW-1),HEADS)
    bias_ptr,  # (HEADS,SPAN,SPAN), written
    HEADS: tl.constexpr, BD: tl.constexpr, BH: tl.constexpr, BW: tl.constexpr, TOKENS: tl.constexpr,
    SPAN: tl.constexpr, OWN: tl.constexpr, PASSING: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Expand the bias of one head for OWN queries, times log2(e).

    A smaller window takes its tokens' places from the table's window (BD,BH,BW), as the published model does.
    """
    head, query = tl.program_id(0) % HEADS, tl.program_id(0) // HEADS * OWN + tl.arange(0, OWN)  # (OWN,)
    centre: tl.constexpr = ((BD - 1) * (2 * BH - 1) + BH - 1) * (2 * BW - 1) + BW - 1
    for start in tl.range(0, SPAN, PASSING):
        key = start + tl.arange(0, PASSING)  # (PASSING,)
        row = centre + bias_code(query, BH, BW)[:, None] - bias_code(key, BH, BW)[None, :]  # (OWN,PASSING)
        inside = (query < TOKENS)[:, None] & (key < TOKENS)[None, :]
        bias = tl.load(table_ptr + row * HEADS + head, mask=inside, other=0.0).to(ACC) * 1.4426950408889634
        bias = tl.where((key < TOKENS)[None, :], bias, float("-inf"))
        pointers = bias_ptr + (head * SPAN + query)[:, None] * SPAN + key[None, :]
        tl.store(pointers, bias.to(bias_ptr.dtype.element_ty))


@triton.jit
def load_bias(
    bias_ptr,  # (HEADS,SPAN,SPAN), or None in mutual attention
    token_a,  # (TA,): queries, or keys if KEYS_FIRST
    token_b,  # (TB,)
    head,
    SPAN: tl.constexpr, KEYS_FIRST: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """The bias with which the scores of two tiles of tokens begin in every window: (TA,TB), or None."""
    if bias_ptr is None:
        bias = None
    elif KEYS_FIRST:
        bias = tl.load(bias_ptr + head * SPAN * SPAN + token_b[None, :] * SPAN + token_a[:, None]).to(ACC)
    else:
        bias = tl.load(bias_ptr + head * SPAN * SPAN + token_a[:, None] * SPAN + token_b[None, :]).to(ACC)
    return bias


@triton.jit
def scores_of(
    a,  # (TA,EP) DOT: scaled queries, or keys if KEYS_FIRST
    b,  # (TB,EP) DOT
    bias,  # (TA,TB) ACC, or None in mutual attention
    token_a,  # (TA,)
    token_b,  # (TB,)
    region_a,  # (TA,), or None where nothing is masked
    region_b,  # (TB,)
    TOKENS: tl.constexpr, TA: tl.constexpr, TB: tl.constexpr, KEYS_FIRST: tl.constexpr, DOT: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    """q k^T + bias + mask of two tiles of tokens in base 2: (TA,TB), queries by keys or KEYS_FIRST."""
    scores = add_dot(tl.zeros((TA, TB), ACC) if bias is None else bias, a, tl.trans(b), DOT, ACC)  # (TA,TB)
    if region_a is not None:
        # -100 log2(e): finite, as in the training of the published weights.
        scores = tl.where(region_a[:, None] != region_b[None, :], scores - 144.26950408889634, scores)
    if bias is None and TOKENS % (TA if KEYS_FIRST else TB) != 0:
        inside = (token_a < TOKENS)[:, None] if KEYS_FIRST else (token_b < TOKENS)[None, :]
        scores = tl.where(inside, scores, float("-inf"))
    return scores
