"""What one call of the fused window attention declares to move: features and their gradients, sums apart."""

from collections.abc import Sequence
from math import ceil, prod
from typing import Any

from torch import Tensor

from spikevrt_kernels.cost import Cost, Declared
from spikevrt_kernels.window_attention.configs import choose


def branch_bytes(qkv: Tensor, offset: Tensor) -> int:
    """Bytes of one branch's output, as of its q, its k and its v."""
    return qkv[..., 0].numel() * (offset.shape[0] // 3) * qkv.element_size()


def tile_counts(kernel: str, tokens: int) -> tuple[int, int]:
    """Tiles that programs work on, and tiles that pass by them, among tokens that attend each other."""
    # Tiles are the same on every architecture of the table.
    config = choose(kernel, 90, tokens)
    return ceil(tokens / config.own), ceil(tokens / config.passing)


def forward_cost(qkv: Tensor, offset: Tensor, mutual: bool) -> Cost:
    """q, k, v in and out out, in each branch."""
    branches = 2 if mutual else 1
    return Cost(branches * 4 * branch_bytes(qkv, offset), branches)


def backward_cost(qkv: Tensor, offset: Tensor, mutual: bool, window: Sequence[int]) -> Cost:
    """q, k, v, out and its gradient in, dq, dk, dv out; then q, k, v and the gradient by pairs of tiles for the bias.

    In mutual attention each tile of a frame's places (one up to 64 tokens) reads the whole frame.
    """
    unit = branch_bytes(qkv, offset)
    queries, keys = tile_counts("bias_backward", prod(window))
    units, launches = 8 + 2 * keys + 2 * queries, 3
    if mutual:
        units, launches = units + 5 * tile_counts("mutual_backward", prod(window[1:]))[0] + 3, launches + 1
    return Cost(units * unit, launches)


def product_flops(qkv: Tensor, offset: Tensor, window: Sequence[int], attended: int) -> int:
    """Multiplications and additions of one product of all tokens, padding included, with `attended` others each."""
    padded = prod(ceil(s / n) * n for s, n in zip(qkv.shape[1:4], window, strict=True))
    return 2 * qkv.shape[0] * padded * attended * (offset.shape[0] // 3)


def forward_flops(qkv: Tensor, offset: Tensor, mutual: bool, window: Sequence[int]) -> int:
    """Scores and outputs of each branch."""
    N, n = prod(window), prod(window[1:])
    return 2 * product_flops(qkv, offset, window, N + n if mutual else N)


def backward_flops(qkv: Tensor, offset: Tensor, mutual: bool, window: Sequence[int]) -> int:
    """The same: three products for dq, four for dk and dv, two for the bias, which mutual attention has not."""
    N, n = prod(window), prod(window[1:])
    return product_flops(qkv, offset, window, 9 * N + (7 * n if mutual else 0))


def of_forward(qkv: Tensor, offset: Tensor, table: Tensor, mutual_offset: Tensor | None, *others: Any) -> Cost:
    """Cost of the operator `spikevrt::window_attention` from its arguments."""
    return forward_cost(qkv, offset, mutual_offset is not None)


def of_backward(
    grad: Tensor,
    qkv: Tensor,
    offset: Tensor,
    table: Tensor,
    mutual_offset: Tensor | None,
    heads: int,
    window: Sequence[int],
    *others: Any,
) -> Cost:
    """Cost of the operator `spikevrt::window_attention_backward` from its arguments."""
    return backward_cost(qkv, offset, mutual_offset is not None, window)


DECLARED: Declared = {
    "spikevrt::window_attention": of_forward,
    "spikevrt::window_attention_backward": of_backward,
}
"""For `count_operators`, which sees a custom operator but not its kernels."""
