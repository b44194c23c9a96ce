"""Arithmetic that Triton kernels share: types, matrix products, tuples of sums."""

import torch
import triton
import triton.language as tl

TRITON_TYPES = {
    torch.float64: tl.float64,
    torch.float32: tl.float32,
    torch.float16: tl.float16,
    torch.bfloat16: tl.bfloat16,
}


@triton.jit
def add_dot(acc, a, b, DOT: tl.constexpr, ACC: tl.constexpr):
    """acc + a @ b; fp32 inputs are multiplied as fp32, never as TF32."""
    return tl.dot(a.to(DOT), b.to(DOT), acc, input_precision="ieee", out_dtype=ACC)


@triton.jit
def zero_vectors(COUNT: tl.constexpr, K: tl.constexpr, ACC: tl.constexpr):
    """COUNT accumulators of (K,)."""
    vectors = ()
    for _ in tl.static_range(COUNT):
        vectors = vectors + (tl.zeros((K,), ACC),)
    return vectors
