"""Sums that a Triton kernel keeps in registers, as tuples."""

import triton
import triton.language as tl


@triton.jit
def zero_vectors(COUNT: tl.constexpr, K: tl.constexpr, ACC: tl.constexpr):
    """COUNT accumulators of (K,)."""
    vectors = ()
    for _ in tl.static_range(COUNT):
        vectors = vectors + (tl.zeros((K,), ACC),)
    return vectors
