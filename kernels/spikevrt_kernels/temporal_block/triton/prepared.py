"""What the block's kernels take in the place of its weights: made by a forward, and handed on to its backward.

Nothing is kept from call to call: fused optimisers and writes through `weight.data` leave no trace in a tensor's
version, and a block with weights of before is wrong without a word.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikevrt_kernels.temporal_block.reference import BlockWeights


class Folded(NamedTuple):
    """The projection of LN(x) to q, k, v as a product with x itself.

    LN(x) W^T + b = rstd (x W'^T - mean sum(W')) + b'. The sums are those of the rounded W', so that the mean
    cancels exactly.
    """

    weight: Tensor
    """W' = W gamma (3C,C) in the dots' type."""
    sums: Tensor
    """Of its rows (3C,), accumulated."""
    bias: Tensor
    """b' = b + W beta (3C,), accumulated."""


class Prepared(NamedTuple):
    """The block's weights as its kernels take them."""

    weights: BlockWeights
    """Projections in the dots' type."""
    folded: Folded


def flatten(weights: BlockWeights) -> list[Tensor]:
    """Weights and biases in their order: 12 tensors, 14 with a norm of the context."""
    return [t.contiguous() for pair in weights if pair is not None for t in pair]


def unflatten(weights: Sequence[Tensor]) -> BlockWeights:
    """The inverse of `flatten`."""
    pairs = [(weights[i], weights[i + 1]) for i in range(0, len(weights), 2)]
    return BlockWeights(*pairs) if len(pairs) > 6 else BlockWeights(pairs[0], None, *pairs[1:])


def projections(weights: Sequence[Tensor]) -> tuple[int, int, int, int]:
    """Where the matrices of `flatten` are: those of q, k, v, of the attention's output, and of the MLP."""
    first = len(weights) - 10
    return first, first + 2, first + 6, first + 8


def fold(weights: BlockWeights, dot: torch.dtype) -> Folded:
    """Fold the norms into the projection; autocast, which would round W beta, has no say in it."""
    acc = torch.promote_types(dot, torch.float32)
    weight, bias = (p.to(acc) for p in weights.in_proj)
    C = weight.shape[1]
    with exactly(weight.device.type):
        if weights.norm_kv is None:
            w, b = fold_norm(weight, bias, weights.norm_q, dot)
        else:
            parts = (weights.norm_q, weight[:C], bias[:C]), (weights.norm_kv, weight[C:], bias[C:])
            found = [fold_norm(rows, own, norm, dot) for norm, rows, own in parts]
            w, b = (torch.cat(both) for both in zip(*found, strict=True))
        return Folded(w, w.sum(1, dtype=acc), b)


def exactly(device: str) -> AbstractContextManager[Any]:
    """Inside, autocast is off on a kind of devices that has it (`meta` has not)."""
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


def fold_norm(weight: Tensor, bias: Tensor, norm: tuple[Tensor, Tensor], dot: torch.dtype) -> tuple[Tensor, Tensor]:
    """W gamma in the dots' type, and b + W beta."""
    gamma, beta = norm
    return (weight * gamma).to(dot), bias + weight @ beta.to(bias.dtype)


def cast(weights: Sequence[Tensor], dot: torch.dtype) -> list[Tensor]:
    """The flat list of `flatten`, projections in the dots' type."""
    matrices = projections(weights)
    return [w.to(dot) if i in matrices else w for i, w in enumerate(weights)]


def prepare(weights: Sequence[Tensor], dot: torch.dtype) -> Prepared:
    """The flat list of `flatten`, prepared afresh."""
    made = unflatten(cast(weights, dot))
    return Prepared(made, fold(made, dot))
