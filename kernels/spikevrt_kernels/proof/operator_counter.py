"""Bytes that PyTorch's operators move and save.

Every operator that is not a view reads its inputs and writes its outputs once, rows that an index picks instead of
the whole: the figure of an eager run in which nothing is fused. A custom operator counts as what it declares.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from spikevrt_kernels.core.operator import Declared
from spikevrt_kernels.proof.flops import flops_of
from spikevrt_kernels.proof.repeated import Watcher

NOT_LAUNCHED = (
    "aten::empty",
    "aten::empty_like",
    "aten::empty_strided",
    "aten::new_empty",
    "aten::new_empty_strided",
    "aten::_unsafe_view",
    "aten::promote_types",
)
"""Allocations write nothing, what matmul calls an unsafe view is a view; tensors without storage ask for the type of a
sum by an operator."""


Counted = tuple[str, int, int, int]
"""A call: the operator's name, bytes, launches, FLOPs."""


def tensor_bytes(x: Tensor) -> int:
    """Bytes moved by reading `x` once; an expanded axis (stride 0) counts once."""
    elements = 1
    for size, stride in zip(x.shape, x.stride(), strict=True):
        elements *= size if stride or not size else 1
    return elements * x.element_size()


@dataclass
class OperatorTraffic:
    """Sums over the operators of a run."""

    bytes: int = 0
    launches: int = 0
    flops: int = 0
    """Multiplications and additions of products and convolutions."""
    by_operator: Counter[str] = field(default_factory=Counter)
    """Bytes by operator."""
    places: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    """Bytes and launches by place and operator."""


class CountingMode(Watcher):
    """Adds up in + out bytes of every operator that is not a view."""

    def __init__(self, declared: Declared, place: Callable[[], str]) -> None:
        super().__init__()
        self.declared = declared
        self.place = place
        self.traffic = OperatorTraffic()
        self.stretches: list[list[Counted]] = []
        """Calls since each `begin` that has not ended."""

    def see(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call an operator, and count what it moves."""
        out = func(*args, **kwargs)
        name = func._schema.name
        if name in self.declared:
            moved, launches = self.declared[name](*args, **kwargs)
        elif not is_view(func) and name not in NOT_LAUNCHED:
            tensors = [t for t in tree_leaves((args, kwargs, out)) if isinstance(t, Tensor)]
            moved, launches = sum(map(tensor_bytes, touched(name, tensors))), 1
        else:
            return out
        self.add(name, moved, launches, flops_of(func, out, args, kwargs))
        return out

    def add(self, name: str, moved: int, launches: int, flops: int) -> None:
        """Add one call."""
        for stretch in self.stretches:
            stretch.append((name, moved, launches, flops))
        self.traffic.bytes += moved
        self.traffic.launches += launches
        self.traffic.flops += flops
        self.traffic.by_operator[name] += moved
        key = self.place(), name
        before, runs = self.traffic.places.get(key, (0, 0))
        self.traffic.places[key] = before + moved, runs + launches

    def begin(self) -> None:
        """Note what is counted from now on."""
        self.stretches.append([])

    def end(self, begun: None) -> list[Counted]:
        """What was counted since `begin`."""
        return self.stretches.pop()

    def repeat(self, effect: list[Counted]) -> None:
        """Count it once more."""
        for call in effect:
            self.add(*call)


def touched(name: str, tensors: list[Tensor]) -> list[Tensor]:
    """Bytes that an operator reads or writes of its inputs and outputs: all, except if an index selects rows."""
    if name == "aten::index_select":
        _, index, rows = tensors
        return [index, rows, rows]
    if name == "aten::index_copy_":
        _, index, rows, _ = tensors
        return [index, rows, rows]
    return tensors


@cache
def is_view(func: Any) -> bool:
    """Whether an operator only returns another view of an input."""
    returns = [r.alias_info for r in func._schema.returns]
    return any(alias is not None and not alias.is_write for alias in returns)


@contextmanager
def count_operators(
    declared: Declared | None = None, place: Callable[[], str] = lambda: ""
) -> Iterator[OperatorTraffic]:
    """Count every operator inside the block, backward passes included; `place` says where the run is now."""
    mode = CountingMode(declared or {}, place)
    with mode:
        yield mode.traffic


@contextmanager
def count_saved(*excluded: Tensor) -> Iterator[list[int]]:
    """Bytes of each storage that autograd saves inside the block, without those of `excluded` (parameters).

    Autograd keeps a whole storage alive whatever view of it was saved, so storages count once and whole.
    """
    # Not by the address of the values, which tensors without storage have not.
    seen = {t.untyped_storage()._cdata for t in excluded}
    sizes: list[int] = []
    kept: list[Tensor] = []  # A freed storage's place could be used again.

    def pack(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage._cdata not in seen:
            seen.add(storage._cdata)
            kept.append(x)
            sizes.append(storage.nbytes())
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        yield sizes
