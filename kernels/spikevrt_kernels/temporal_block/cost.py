"""What one call of the fused block declares to move: features and their gradients, weights and sums apart."""

from collections.abc import Sequence
from math import ceil
from typing import Any

import torch
from torch import Tensor

from spikevrt_kernels.cost import Cost, Declared, feature_bytes
from spikevrt_kernels.launches import architecture
from spikevrt_kernels.temporal_attention import cost as attention_cost
from spikevrt_kernels.temporal_block.configs import TABLE, one_kernel

BACKWARD_LAUNCHES = 4
"""The backward of a block with a context has one more: weight gradients of q apart from those of k, v."""
FEATURES = frozenset(
    f"{name}_ptr" for name in ("x", "context", "o", "out", "grad", "z", "dy", "dq", "dkv", "dx", "dcontext")
)
"""Features and their gradients by the kernels' names: what the costs count."""


def forward_cost(x: Tensor, context: Tensor | None, dot: torch.dtype, keep: bool = True, target: int = 90) -> Cost:
    """x and the context in, out out; o out where it is kept, and in and out where the MLP has a kernel of its own.

    What a program writes and reads again itself counts once, here as in the interpreter.
    """
    own, o = feature_bytes(x), feature_bytes(x, dot)
    keys = x if context is None else context
    other = 0 if context is None else feature_bytes(context)
    if one_kernel(target, max(x.shape[2], keys.shape[2])):
        return Cost(2 * own + other + (o if keep else 0), 1)
    return Cost(3 * own + other + 2 * o, 2)


def backward_cost(x: Tensor, context: Tensor | None, hidden: int, dot: torch.dtype) -> Cost:
    """The kernels of the backward; `hidden` is the width R of the MLP."""
    own, o = feature_bytes(x), feature_bytes(x, dot)
    keys = x if context is None else context
    other, dqkv = (0 if context is None else feature_bytes(keys)), o + 2 * feature_bytes(keys, dot)
    dy = 3 * own + 2 * o
    mlp = hidden_shares(hidden) * (own + o)
    attend = 3 * own + 2 * other + dqkv
    project = own + other + dqkv
    return Cost(dy + mlp + attend + project, BACKWARD_LAUNCHES + (context is not None))


def hidden_shares(hidden: int) -> int:
    """Programs that share the hidden channels, each of which reads the features."""
    slices = ceil(hidden / (32 if hidden > 16 else 16))
    return ceil(slices / ceil(slices / TABLE["bwd_mlp"].parts))


def forward_flops(x: Tensor, context: Tensor | None, hidden: int) -> int:
    """Multiplications and additions of the products; `hidden` is the width R of the MLP."""
    C, keys = x.shape[1], x if context is None else context
    projections = 2 * C * (2 * x.numel() + 2 * keys.numel())
    return projections + attention_cost.forward_flops(x, keys) + 4 * hidden * x.numel()


def backward_flops(x: Tensor, context: Tensor | None, hidden: int) -> int:
    """The same of the backward: every product's two gradients, and what they compute again.

    Computed again: q, k, v, the output projection, the MLP's first product and the gradient of its hidden channels.
    """
    C, keys = x.shape[1], x if context is None else context
    own = 2 * C * x.numel() * (1 + 2 + 1 + 2)
    others = 2 * C * keys.numel() * (2 + 4)
    return own + others + attention_cost.backward_flops(x, keys) + 14 * hidden * x.numel()


def of_forward(x: Tensor, context: Tensor | None, *others: Any) -> Cost:
    """Cost of the operator `spikevrt::temporal_block` from its arguments."""
    dot, keep = others[-2:]
    return forward_cost(x, context, dot, keep, architecture(x.device))


def of_backward(grad: Tensor, x: Tensor, context: Tensor | None, weights: Sequence[Tensor], *others: Any) -> Cost:
    """Cost of the operator `spikevrt::temporal_block_backward` from its arguments."""
    o = others[-3]
    return backward_cost(x, context, weights[-2].shape[1], o.dtype)


DECLARED: Declared = {
    "spikevrt::temporal_block": of_forward,
    "spikevrt::temporal_block_backward": of_backward,
}
"""For `count_operators`, which sees a custom operator but not its kernels."""
