"""The forms of its weights that the block's kernels take: the forward pass makes them and hands them to its backward.

They are not kept from call to call: fused optimisers and writes to `weight.data` do not change a tensor's version, so
outdated weights would go unnoticed.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikevrt_kernels.temporal_block.reference import BlockWeights


class Folded(NamedTuple):
    """The projection of LN(x) to q, k, v as a product with x itself.

    LN(x) W^T + b = rstd (x W'^T - mean sum(W')) + b'. The sums are computed from the rounded W', so that the mean
    cancels exactly.
    """

    weight: Tensor
    """W' = W gamma, (3C,C) in the type `dot`."""
    sums: Tensor
    """(3C,) sums of the rows of W', in the type of accumulation."""
    bias: Tensor
    """b' = b + W beta, (3C,) in the type of accumulation."""


class Prepared(NamedTuple):
    """The block's weights in the form that its kernels take."""

    weights: BlockWeights
    """The parameters; projections in the type `dot`."""
    folded: Folded


def flatten(weights: BlockWeights) -> list[Tensor]:
    """All weights and biases in order: 12 tensors, or 14 with a norm of the context."""
    return [t.contiguous() for pair in weights if pair is not None for t in pair]


def unflatten(weights: Sequence[Tensor]) -> BlockWeights:
    """The inverse of `flatten`."""
    pairs = [(weights[i], weights[i + 1]) for i in range(0, len(weights), 2)]
    return BlockWeights(*pairs) if len(pairs) > 6 else BlockWeights(pairs[0], None, *pairs[1:])


def projections(weights: Sequence[Tensor]) -> tuple[int, int, int, int]:
    """Indices of the matrices in the result of `flatten`: of q, k, v, of the output projection, and of the MLP."""
    first = len(weights) - 10
    return first, first + 2, first + 6, first + 8


def fold(weights: BlockWeights, dot: torch.dtype) -> Folded:
    """Fold the norms into the projection; autocast is off, because it would round W beta."""
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
    """While active, autocast is off on this kind of device; does nothing for kinds without autocast, such as `meta`."""
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


def fold_norm(weight: Tensor, bias: Tensor, norm: tuple[Tensor, Tensor], dot: torch.dtype) -> tuple[Tensor, Tensor]:
    """W gamma in the type `dot`, and b + W beta."""
    gamma, beta = norm
    return (weight * gamma).to(dot), bias + weight @ beta.to(bias.dtype)


def cast(weights: Sequence[Tensor], dot: torch.dtype) -> list[Tensor]:
    """The result of `flatten` with the projections in the type `dot`."""
    matrices = projections(weights)
    return [w.to(dot) if i in matrices else w for i, w in enumerate(weights)]


def prepare(weights: Sequence[Tensor], dot: torch.dtype) -> Prepared:
    """Prepare the weights in the result of `flatten`."""
    made = unflatten(cast(weights, dot))
    return Prepared(made, fold(made, dot))
