"""What segments of a model cost in each way, found on tensors without storage; every distinct one is traced once."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge
from torch.utils._pytree import tree_leaves, tree_map_only

from spikevrt.models.segments import Segment, Way, compute, following
from spikevrt_kernels.proof.memory import PeakMode
from spikevrt_kernels.proof.operator_counter import count_operators
from spikevrt_kernels.registry import DECLARED


class Cost(NamedTuple):
    """What a segment costs in one way, in bytes."""

    way: Way
    kept: int
    """From the end of its forward until its backward: its outputs included, without inputs that nobody needs then."""
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


class Known(NamedTuple):
    """A distinct segment."""

    traced: Traced
    out: Any
    """Its outputs, without values."""
    kept_outputs: tuple[bool, ...]
    """Which outputs its backward needs itself."""
    dropped_inputs: tuple[tuple[bool, ...], ...]
    """For each way, which inputs its backward does not need."""


class Tracer:
    """A director that looks up what segments cost, and gives outputs without values; inside `without_storage`.

    Args:
        allocated: gives the bytes of all tensors now.
    """

    def __init__(self, allocated: Callable[[], int] = lambda: 0) -> None:
        self.allocated = allocated
        self.fixed: int | None = None
        """Bytes that were there before the first segment."""
        self.known: dict[Hashable, Known] = {}
        self.calls: list[tuple[Known, list[Tensor]]] = []
        """All segments in order, with their inputs."""
        self.needed: set[int] = set()
        """Outputs (by `storage_of`) that the segment which made them needs itself."""
        self.outputs: list[Tensor] = []
        """Kept, so that no other tensor takes their place."""

    def __call__(self, one: Segment) -> Any:
        """Trace a segment, unless one like it was traced before."""
        if self.fixed is None:
            self.fixed = self.allocated()
        key = signature(one)
        if key not in self.known:
            self.known[key] = trace(one)
        found = self.known[key]
        self.calls.append((found, tensors_of(one.inputs)))
        out = tree_map_only(Tensor, like, found.out)
        outputs = tensors_of(out)
        self.outputs += outputs
        self.needed |= {storage_of(x) for x, kept in zip(outputs, found.kept_outputs, strict=True) if kept}
        return out

    @contextmanager
    def followed(self) -> Iterator[None]:
        """While active, one forward pass is looked at."""
        with following(self):
            yield

    @property
    def segments(self) -> tuple[Traced, ...]:
        """All segments in order; what only the next one takes, and does not need, is freed after its forward."""
        users = Counter(storage_of(x) for _, inputs in self.calls for x in inputs)
        found = []
        for known, inputs in self.calls:
            alone = [users[storage_of(x)] == 1 and storage_of(x) not in self.needed for x in inputs]
            costs = []
            for cost, dropped in zip(known.traced.costs, known.dropped_inputs, strict=True):
                freed = sum(
                    x.untyped_storage().nbytes() for x, *yes in zip(inputs, alone, dropped, strict=True) if all(yes)
                )
                costs.append(cost._replace(kept=cost.kept - freed))
            found.append(known.traced._replace(costs=tuple(costs)))
        return tuple(found)


def storage_of(x: Tensor) -> int:
    """What tensors that share memory have in common."""
    return x.untyped_storage()._cdata


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


def trace(one: Segment) -> Known:
    """The costs of a segment, its outputs, and what its backward needs."""
    fresh = one._replace(inputs=tree_map_only(Tensor, like, one.inputs))
    with count_operators(DECLARED) as forward, torch.no_grad():
        one.function(*fresh.inputs)
    ways = one.ways
    needs = [needs_of(fresh, way) for way in ways]
    if not any(x.requires_grad for x in tensors_of(needs[0].out)):
        ways, needs = ways[:1], needs[:1]  # Without a backward all ways are one.
    runs = [trace_way(fresh, way) for way in ways]
    least = runs[0].moved
    costs = tuple(Cost(way, run.kept, run.peak, run.moved - least) for way, run in zip(ways, runs, strict=True))
    dropped = tuple(tuple(not kept for kept in need.inputs) for need in needs)
    return Known(Traced(one.label, costs, forward.bytes), needs[0].out, needs[0].outputs, dropped)


class Run(NamedTuple):
    """One way, run."""

    kept: int
    peak: int
    moved: int
    """Bytes that the backward moves."""


def trace_way(one: Segment, way: Way) -> Run:
    """Run forward and backward of a segment."""
    sources = [x for x in (*tensors_of(one.inputs), *weights_of(one)) if x.requires_grad]
    with PeakMode() as mode, mode.inside_operators():
        out = compute(one, way)
        kept = mode.now
        ends = [x for x in tensors_of(out) if x.requires_grad]
        grads, edges = [torch.empty_like(x) for x in ends], [get_gradient_edge(x) for x in ends]
        del out, ends  # What only later segments need is freed before this one's backward.
        with count_operators(DECLARED) as backward:
            if edges:
                torch.autograd.grad(edges, sources, grads, allow_unused=True)
    return Run(kept, mode.peak, backward.bytes)


class Needs(NamedTuple):
    """What the backward of a segment needs: what is alive when only the graph is left."""

    inputs: tuple[bool, ...]
    outputs: tuple[bool, ...]
    out: Any
    """Outputs without values and history."""


def needs_of(one: Segment, way: Way) -> Needs:
    """Run the forward of a segment, and see what stays."""
    with PeakMode() as mode:
        # Copies, because the graph holds leaves anyway.
        inputs = tree_map_only(Tensor, lambda x: like(x).clone(), one.inputs)
        out = compute(one._replace(inputs=inputs), way)
        graph = [x.grad_fn for x in tensors_of(out)]
        places = [[storage_of(x) for x in tensors_of(tree)] for tree in (inputs, out)]
        template = tree_map_only(Tensor, like, out)
        del inputs, out
        before, after = (tuple(place in mode.alive for place in some) for some in places)
    del graph
    return Needs(before, after, template)
