"""What segments of a model cost in each way, found on tensors without storage; every distinct one is traced once."""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from spikevrt.models.segments import Segment, Way, compute, following
from spikevrt_kernels.proof.memory import PeakMode
from spikevrt_kernels.proof.operator_counter import count_operators
from spikevrt_kernels.registry import DECLARED


class Cost(NamedTuple):
    """What a segment costs in one way, in bytes."""

    way: Way
    kept: int
    """From the end of its forward until its backward, its outputs included."""
    peak: int
    """The most at a time in its forward and in its backward, beyond what was there before its forward."""
    again: int
    """Moved by what the backward computes again."""


class Traced(NamedTuple):
    """A segment with its costs."""

    label: str
    costs: tuple[Cost, ...]
    forward: int
    """Bytes that its forward moves."""


class Tracer:
    """A director that looks up what segments cost, and gives outputs without values; inside `without_storage`.

    Args:
        allocated: gives the bytes of all tensors now.
    """

    def __init__(self, allocated: Callable[[], int] = lambda: 0) -> None:
        self.allocated = allocated
        self.fixed: int | None = None
        """Bytes that were there before the first segment."""
        self.segments: list[Traced] = []
        """All that were met, in order."""
        self.known: dict[Hashable, tuple[Traced, Any]] = {}
        """The distinct ones, with their outputs."""

    def __call__(self, one: Segment) -> Any:
        """Trace a segment, unless one like it was traced before."""
        if self.fixed is None:
            self.fixed = self.allocated()
        key = signature(one)
        if key not in self.known:
            self.known[key] = trace(one)
        found, out = self.known[key]
        self.segments.append(found)
        return tree_map_only(Tensor, like, out)

    @contextmanager
    def followed(self) -> Iterator[None]:
        """While active, one forward pass is looked at."""
        with following(self):
            yield


def signature(one: Segment) -> Hashable:
    """Equal for segments that cost the same."""
    structure = [tuple((type(m).__name__, getattr(m, "window", None)) for m in part.modules()) for part in one.parts]
    sizes = [(tuple(p.shape), p.dtype, p.requires_grad) for p in weights_of(one)]
    inputs = [(tuple(x.shape), x.stride(), x.dtype, x.requires_grad) for x in tensors_of(one.inputs)]
    return one.label, tuple(structure), tuple(sizes), tuple(inputs)


def weights_of(one: Segment) -> list[Tensor]:
    """What its modules multiply with now: parameters, or copies of them in half precision."""
    modules = {id(module): module for part in one.parts for module in part.modules()}
    return [p for module in modules.values() for p in module._parameters.values() if p is not None]


def tensors_of(tree: Any) -> list[Tensor]:
    """The tensors in a tree."""
    return [x for x in tree_leaves(tree) if isinstance(x, Tensor)]


def like(x: Tensor) -> Tensor:
    """A tensor of its own, without history."""
    return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=x.device, requires_grad=x.requires_grad)


def trace(one: Segment) -> tuple[Traced, Any]:
    """The costs of a segment, and its outputs."""
    fresh = one._replace(inputs=tree_map_only(Tensor, like, one.inputs))
    with count_operators(DECLARED) as forward, torch.no_grad():
        one.function(*fresh.inputs)
    runs = [trace_way(fresh, way) for way in one.ways]
    least = runs[0].moved
    costs = tuple(Cost(way, run.kept, run.peak, run.moved - least) for way, run in zip(one.ways, runs, strict=True))
    if not costs[0].peak or not any(x.requires_grad for x in tensors_of(runs[0].out)):
        costs = costs[:1]  # Without a backward all ways are one.
    return Traced(one.label, costs, forward.bytes), runs[0].out


class Run(NamedTuple):
    """One way, run."""

    kept: int
    peak: int
    moved: int
    """Bytes that the backward moves."""
    out: Any
    """Outputs without history."""


def trace_way(one: Segment, way: Way) -> Run:
    """Run forward and backward of a segment."""
    sources = [x for x in (*tensors_of(one.inputs), *weights_of(one)) if x.requires_grad]
    with PeakMode() as mode, mode.inside_operators():
        out = compute(one, way)
        kept = mode.now
        ends = [x for x in tensors_of(out) if x.requires_grad]
        with count_operators(DECLARED) as backward:
            if ends:
                torch.autograd.grad(ends, sources, [torch.empty_like(x) for x in ends], allow_unused=True)
    return Run(kept, mode.peak, backward.bytes, tree_map_only(Tensor, like, out))
