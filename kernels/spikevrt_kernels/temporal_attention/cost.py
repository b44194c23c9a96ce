"""What one call of the fused attention declares to move, and the arithmetic it needs."""

from typing import Any

from torch import Tensor

from spikevrt_kernels.cost import Cost, Declared, feature_bytes

PRODUCTS_FORWARD, PRODUCTS_BACKWARD = 2, 5
"""Scores and values; scores again, dP, dV, dQ, dK."""


def forward_cost(q: Tensor, k: Tensor, v: Tensor) -> Cost:
    """q, k, v in, o out."""
    return Cost(2 * feature_bytes(q) + feature_bytes(k) + feature_bytes(v), 1)


def backward_cost(q: Tensor, k: Tensor, v: Tensor) -> Cost:
    """q, k, v and the gradient in, dq, dk, dv out."""
    return Cost(3 * feature_bytes(q) + 2 * (feature_bytes(k) + feature_bytes(v)), 1)


def forward_flops(q: Tensor, k: Tensor) -> int:
    """Multiplications and additions of the products; q (B,C,Tq,H,W), k (B,C,Tk,H,W)."""
    return 2 * PRODUCTS_FORWARD * q.numel() * k.shape[2]


def backward_flops(q: Tensor, k: Tensor) -> int:
    """The same of the backward, which computes the probabilities again."""
    return 2 * PRODUCTS_BACKWARD * q.numel() * k.shape[2]


def of_forward(q: Tensor, k: Tensor, v: Tensor, *others: Any) -> Cost:
    """Cost of the operator `spikevrt::temporal_attention` from its arguments."""
    return forward_cost(q, k, v)


def of_backward(grad: Tensor, q: Tensor, k: Tensor, v: Tensor, *others: Any) -> Cost:
    """Cost of the operator `spikevrt::temporal_attention_backward` from its arguments."""
    return backward_cost(q, k, v)


DECLARED: Declared = {
    "spikevrt::temporal_attention": of_forward,
    "spikevrt::temporal_attention_backward": of_backward,
}
"""For `count_operators`, which sees a custom operator but not its kernels."""
