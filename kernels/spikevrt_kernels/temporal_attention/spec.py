"""The operator's record: its bytes and FLOPs, its launches without tensors, and its test cases."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from spikevrt_kernels.core.case import Case, Draw
from spikevrt_kernels.core.launch import Launch
from spikevrt_kernels.core.operator import FIRST_SCALE, Cost, Declared, Operator, Plan, feature_bytes
from spikevrt_kernels.temporal_attention.op import temporal_attention

PRODUCTS_FORWARD, PRODUCTS_BACKWARD = 2, 5
"""Forward: scores, values. Backward: scores again, dP, dV, dQ, dK."""


def forward_cost(q: Tensor, k: Tensor, v: Tensor) -> Cost:
    """Reads q, k, v; writes o."""
    return Cost(2 * feature_bytes(q) + feature_bytes(k) + feature_bytes(v), 1)


def backward_cost(q: Tensor, k: Tensor, v: Tensor) -> Cost:
    """Reads q, k, v and the gradient; writes dq, dk, dv."""
    return Cost(3 * feature_bytes(q) + 2 * (feature_bytes(k) + feature_bytes(v)), 1)


def forward_flops(q: Tensor, k: Tensor) -> int:
    """Multiplications and additions of the forward products; q (B,C,Tq,H,W), k (B,C,Tk,H,W)."""
    return 2 * PRODUCTS_FORWARD * q.numel() * k.shape[2]


def backward_flops(q: Tensor, k: Tensor) -> int:
    """Multiplications and additions of the backward products, which include recomputing the probabilities."""
    return 2 * PRODUCTS_BACKWARD * q.numel() * k.shape[2]


def of_forward(q: Tensor, k: Tensor, v: Tensor, *others: Any) -> Cost:
    """Cost of the operator `spikevrt::temporal_attention`, from its arguments."""
    return forward_cost(q, k, v)


def of_backward(grad: Tensor, q: Tensor, k: Tensor, v: Tensor, *others: Any) -> Cost:
    """Cost of the operator `spikevrt::temporal_attention_backward`, from its arguments."""
    return backward_cost(q, k, v)


DECLARED: Declared = {
    "spikevrt::temporal_attention": of_forward,
    "spikevrt::temporal_attention_backward": of_backward,
}
"""For `count_operators`, which sees a custom operator but not the kernels inside it."""


def attention_launches(
    shape: tuple[int, int, int, int, int], dtype: torch.dtype, heads: int = 4, dropout_p: float = 0.0
) -> dict[str, Launch]:
    """The launches of forward and backward, the same on every architecture.

    Args:
        shape: (B,C,T,H,W) of q, k and v.
        dtype: type of q, k and v.
    """
    from spikevrt_kernels.temporal_attention.triton.launch import backward_launch, forward_launch

    x = torch.empty(shape, dtype=dtype, device="meta")
    seed = torch.empty(1, dtype=torch.int64, device="meta") if dropout_p else None
    return {
        "forward": forward_launch(x, x, x, heads, dropout_p, seed)[0],
        "backward": backward_launch(x, x, x, x, heads, dropout_p, seed)[0],
    }


def temporal_attention_case(B: int, C: int, Tq: int, Tk: int, H: int, W: int, heads: int) -> Case:
    """A case of attention along T at every pixel, from (B,C,Tq,H,W) to (B,C,Tk,H,W)."""
    shape = f"B{B}-C{C}-T{Tq}-Tk{Tk}-H{H}W{W}"
    make = partial(attention_inputs, [(B, C, T, H, W) for T in (Tq, Tk, Tk)])
    run = partial(run_attention, heads)
    return Case("temporal_attention", shape, ("q", "k", "v"), 3, make, run, settings=f"heads {heads}")


def attention_inputs(shapes: Sequence[Sequence[int]], draw: Draw) -> list[Tensor]:
    """Random q, k and v."""
    return [draw(*shape) for shape in shapes]


def run_attention(heads: int, inputs: Sequence[Tensor], backend: str) -> Tensor:
    """Run the operator on q, k and v."""
    q, k, v = inputs
    return temporal_attention(q, k, v, heads, backend=backend)


def plan(T: int, dtype: torch.dtype, architecture: int) -> dict[str, Launch]:
    """The launches for T frames; they do not depend on the architecture."""
    B, C, H, W = FIRST_SCALE
    return attention_launches((B, C, T, H, W), dtype)


PLANS: dict[str, Plan] = {"attention along time": plan}


OPERATOR = Operator(
    "temporal_attention",
    ("triton", "sdpa"),
    (temporal_attention_case(2, 24, 5, 5, 33, 17, 4), temporal_attention_case(1, 64, 2, 7, 19, 15, 1)),
    (temporal_attention_case(2, 6, 3, 3, 3, 5, 1), temporal_attention_case(1, 8, 2, 5, 1, 3, 2)),
    (temporal_attention_case(8, 96, 5, 5, 768, 768, 4),),
    declared=DECLARED,
    plans=PLANS,
)
