"""What the block's kernels take in the place of its weights, made once for as long as those hold the same."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any, NamedTuple
from weakref import ref

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.optim.optimizer import register_optimizer_step_post_hook

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


class Mark(NamedTuple):
    """A tensor as it was."""

    tensor: ref[Tensor]
    storage: StorageWeakRef
    """While it is held, no other storage takes that one's place in memory, as `weight.data = ...` could bring one."""
    state: tuple[Any, ...]

    def holds(self, x: Tensor) -> bool:
        """Whether `x` is that tensor, neither written nor moved since; a write through `x.data` leaves no trace."""
        return self.tensor() is x and self.state == state_of(x)


def mark(x: Tensor, gone: Callable[[Any], Any] | None = None) -> Mark:
    """`x` as it is now; `gone` is called when it goes."""
    return Mark(ref(x, gone), StorageWeakRef(x.untyped_storage()), state_of(x))


def state_of(x: Tensor) -> tuple[Any, ...]:
    """What changes when a tensor is written in place or gets other memory."""
    return x._version, x.untyped_storage()._cdata, x.data_ptr(), x.dtype, x.stride()


class Entry(NamedTuple):
    """Prepared weights without the weights themselves."""

    marks: tuple[Mark, ...]
    """Of all that was prepared."""
    cast: dict[int, Tensor]
    """By their place in `flatten`, where the type had to change."""
    folded: Folded


class Kept:
    """Prepared weights of calls without gradients, from call to call; those of a weight that goes, go.

    Fused optimisers and writes through `weight.data` leave no trace in a tensor's version: any optimiser's step, and
    any call with gradients, forgets all.
    """

    def __init__(self) -> None:
        self.entries: dict[tuple[int, torch.dtype], Entry] = {}

    def get(self, weights: Sequence[Tensor], dot: torch.dtype) -> Prepared:
        """Those of a list of `flatten`, prepared again where one of them has changed."""
        entry = self.entries.get((id(weights[0]), dot))
        if entry is not None and all(m.holds(w) for m, w in zip(entry.marks, sources(weights), strict=False)):
            made = [entry.cast.get(i, w) for i, w in enumerate(weights)]
            return Prepared(unflatten(made), entry.folded)
        with torch.no_grad():
            prepared = prepare(weights, dot)
        if not any(w.is_inference() for w in weights):
            self.keep(weights, dot, prepared)
        return prepared

    def keep(self, weights: Sequence[Tensor], dot: torch.dtype, prepared: Prepared) -> None:
        """Remember what was prepared of them, and none of them."""
        forget_after_steps()
        key = (id(weights[0]), dot)
        first, *others = sources(weights)
        marks = mark(first, lambda _: self.entries.pop(key, None)), *map(mark, others)
        made = flatten(prepared.weights)
        changed = {i: made[i] for i in projections(weights) if made[i] is not weights[i]}
        self.entries[key] = Entry(marks, changed, prepared.folded)

    def forget(self, *_: object) -> None:
        """All of them."""
        self.entries.clear()


def sources(weights: Sequence[Tensor]) -> list[Tensor]:
    """All that is cast or folded: norms, the projection to q, k, v with its bias, and the other matrices."""
    first, *others = projections(weights)
    return [*weights[: first + 2], *(weights[i] for i in others)]


KEPT = Kept()


@cache
def forget_after_steps() -> None:
    """Let every step of every optimiser empty `KEPT`."""
    register_optimizer_step_post_hook(KEPT.forget)
