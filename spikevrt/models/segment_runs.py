"""One run of a segment in one way on tensors without storage: what it holds, moves and leaves for its backward."""

import weakref
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge
from torch.utils._pytree import tree_leaves, tree_map_only

from spikevrt.models.segments import Segment, Way, compute
from spikevrt_kernels.proof.memory import PeakMode
from spikevrt_kernels.proof.operator_counter import OperatorTraffic, count_operators
from spikevrt_kernels.registry import DECLARED


class Cost(NamedTuple):
    """What a segment costs in one way, in bytes."""

    way: Way
    kept: int
    """From the end of its forward until its backward: its outputs included, without inputs that nobody needs then."""
    forward_peak: int
    """The most at a time in its forward, beyond what was there before."""
    backward_peak: int
    """The most at a time in its backward, beyond what was there before its forward."""
    moved: int
    """By its backward."""
    again: int
    """Moved by what its backward computes again, a part of `moved`."""

    @property
    def peak(self) -> int:
        """The most at a time."""
        return max(self.forward_peak, self.backward_peak)


class Work(NamedTuple):
    """What a stretch of a step does."""

    bytes: int = 0
    """Moved."""
    launches: int = 0
    flops: int = 0
    """Multiplications and additions of products and convolutions."""

    @classmethod
    def of(cls, traffic: OperatorTraffic) -> "Work":
        """The sums of what was counted."""
        return cls(traffic.bytes, traffic.launches, traffic.flops)

    def plus(self, other: "Work") -> "Work":
        """Both together."""
        return Work(*(a + b for a, b in zip(self, other, strict=True)))


class Run(NamedTuple):
    """One way, run."""

    cost: Cost
    """Without `again`."""
    forward: Work
    backward: Work
    out: Any
    """Its outputs, without values and history."""
    kept_inputs: tuple[bool, ...]
    kept_outputs: tuple[bool, ...]


def computed_again(first: Run) -> Run:
    """What AGAIN does, concluded from a run of KEEP: between 2% too little and 15% too much at the peak.

    Beside the gradients of the outputs, the forward runs as with KEEP; then the backward goes on as that one.
    """
    outputs = tensors_of(first.out)
    gradients = sum(x.nbytes for x in outputs if x.requires_grad)
    kept = first.cost
    cost = Cost(
        way=Way.AGAIN,
        kept=sum(x.nbytes for x in outputs),
        forward_peak=kept.forward_peak,
        backward_peak=max(kept.forward_peak + gradients, kept.backward_peak),
        moved=kept.moved + first.forward.bytes,
        again=0,
    )
    return first._replace(cost=cost, kept_inputs=(True,) * len(first.kept_inputs))


def trace_way(one: Segment, way: Way) -> Run:
    """Run forward and backward of a segment."""
    leaves = tree_map_only(Tensor, like, one.inputs)
    sources = [x for x in (*tensors_of(leaves), *weights_of(one)) if x.requires_grad]
    mode = PeakMode()
    with mode, mode.inside_operators():
        # Copies, because the graph holds leaves anyway.
        inputs = tree_map_only(Tensor, torch.clone, leaves)
        base = mode.now
        with count_operators(DECLARED) as forward:
            out = compute(one._replace(inputs=inputs), way)
        kept = mode.now - base
        ends = [x for x in tensors_of(out) if x.requires_grad]
        grads, edges = [torch.empty_like(x) for x in ends], [get_gradient_edge(x) for x in ends]
    template = tree_map_only(Tensor, like, out)
    places = [[weakref.ref(x.untyped_storage()) for x in tensors_of(tree)] for tree in (inputs, out)]
    del inputs, out, ends  # What only later segments need is freed before this one's backward.
    held, outputs = ([place() for place in some] for some in places)
    first, mode.peak = mode.peak, mode.now
    with mode, mode.inside_operators(), count_operators(DECLARED) as backward:
        # Earlier segments hold its inputs.
        others = [torch.empty_like(x) for x, kept in zip(tensors_of(leaves), held, strict=True) if kept is None]
        if edges:
            torch.autograd.grad(edges, sources, grads, allow_unused=True)
        del others
    cost = Cost(way, kept, first - base, mode.peak - base, backward.bytes, 0)
    kept_inputs, kept_outputs = (tuple(one is not None for one in some) for some in (held, outputs))
    return Run(cost, Work.of(forward), Work.of(backward), template, kept_inputs, kept_outputs)


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
