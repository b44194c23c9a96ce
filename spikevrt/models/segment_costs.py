"""What segments of a model cost in each way, found on tensors without storage; every distinct one is traced once."""

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from spikevrt.models.segment_runs import Cost, Work, computed_again, like, tensors_of, trace_way, weights_of
from spikevrt.models.segments import Segment, Way, following


class Traced(NamedTuple):
    """A segment with its costs."""

    label: str
    costs: tuple[Cost, ...]
    forward: Work
    backward: Work
    """With everything kept."""
    stage: str = ""
    """The part of the model that it belongs to, as in `planning.leading_modules`."""


class Known(NamedTuple):
    """A distinct segment."""

    traced: Traced
    out: Any
    """Its outputs, without values."""
    kept_outputs: tuple[bool, ...]
    """Which outputs its backward needs itself."""
    dropped_inputs: tuple[tuple[bool, ...], ...]
    """For each way, which inputs its backward does not need."""
    gradients: int
    """Bytes of the gradients of its weights."""


class Call(NamedTuple):
    """A segment of a forward pass; its tensors are kept, so that no other takes their place."""

    known: Known
    stage: str
    inputs: list[Tensor]
    outputs: list[Tensor]


class Tracer:
    """A director that looks up what segments cost, and gives outputs without values; inside `without_storage`.

    Args:
        allocated: gives the bytes of all tensors now.
        ways: the ways to trace; `Way.KEEP` is among them. None stands for KEEP and AGAIN from one run.
        stages: by their name.
    """

    def __init__(
        self,
        allocated: Callable[[], int] = lambda: 0,
        ways: Collection[Way] | None = tuple(Way),
        stages: Iterable[tuple[str, nn.Module]] = (),
    ) -> None:
        self.allocated = allocated
        self.ways = ways
        self.stages = {module: name for name, stage in stages for module in stage.modules()}
        self.fixed: int | None = None
        """Bytes that were there before the first segment."""
        self.known: dict[Hashable, Known] = {}
        self.calls: list[Call] = []
        """All segments in order."""
        self.needed: set[int] = set()
        """Outputs (by `storage_of`) that the segment which made them needs itself."""

    def __call__(self, one: Segment) -> Any:
        """Trace a segment, unless one like it was traced before."""
        if self.fixed is None:
            self.fixed = self.allocated()
        key = signature(one)
        if key not in self.known:
            self.known[key] = trace(one, self.ways)
        found = self.known[key]
        out = tree_map_only(Tensor, like, found.out)
        outputs = tensors_of(out)
        self.calls.append(Call(found, self.stage_of(one), tensors_of(one.inputs), outputs))
        self.needed |= {storage_of(x) for x, kept in zip(outputs, found.kept_outputs, strict=True) if kept}
        return out

    def stage_of(self, one: Segment) -> str:
        """The name of the stage of a segment; of one without modules its label."""
        return self.stages.get(one.parts[0], "") if one.parts else one.label

    def begin_again(self) -> None:
        """Forget the order of the segments, but not what was traced."""
        self.calls.clear()

    @contextmanager
    def followed(self) -> Iterator[None]:
        """While active, one forward pass is looked at."""
        with following(self):
            yield

    @property
    def segments(self) -> tuple[Traced, ...]:
        """All segments in order; what only the next one takes, and does not need, is freed after its forward."""
        users = Counter(storage_of(x) for call in self.calls for x in call.inputs)
        found = []
        for call, waiting in zip(self.calls, self.waiting(), strict=True):
            alone = [users[storage_of(x)] == 1 and storage_of(x) not in self.needed for x in call.inputs]
            costs = []
            for cost, dropped in zip(call.known.traced.costs, call.known.dropped_inputs, strict=True):
                freed = sum(
                    x.untyped_storage().nbytes()
                    for x, *yes in zip(call.inputs, alone, dropped, strict=True)
                    if all(yes)
                )
                peak = cost.backward_peak + waiting
                costs.append(cost._replace(kept=cost.kept - freed, backward_peak=peak))
            found.append(call.known.traced._replace(costs=tuple(costs), stage=call.stage))
        return tuple(found)

    def waiting(self) -> list[int]:
        """Bytes of gradients that are there in the backward of each segment beyond its own.

        They are those of the weights of later segments, and of earlier outputs from later segments.
        """
        made = {id(x): number for number, call in enumerate(self.calls) for x in call.outputs}
        last: dict[int, int] = {}
        sizes: dict[int, int] = {}
        for number, call in enumerate(self.calls):
            for x in call.inputs:
                for leaf in leaves_of(x):
                    last[id(leaf)], sizes[id(leaf)] = number, leaf.nbytes
        weights = [call.known.gradients for call in self.calls]
        found = [sum(weights[number + 1 :]) for number in range(len(weights))]
        for key, number in last.items():
            for between in range(made.get(key, number) + 1, number):
                found[between] += sizes[key]
        return found


def storage_of(x: Tensor) -> int:
    """What tensors that share memory have in common."""
    return x.untyped_storage()._cdata


def leaves_of(x: Tensor) -> list[Tensor]:
    """The tensors with gradients that x was made of outside segments; x itself if it was not."""
    found, open_ones, seen = [], [x.grad_fn], set()
    while open_ones:
        node = open_ones.pop()
        if node is not None and node not in seen:
            seen.add(node)
            if hasattr(node, "variable"):
                found.append(node.variable)
            open_ones += [following for following, _ in node.next_functions]
    return found if seen else [x] if x.requires_grad else []


def signature(one: Segment) -> Hashable:
    """Equal for segments that cost the same."""
    structure = [tuple((type(m).__name__, getattr(m, "window", None)) for m in part.modules()) for part in one.parts]
    sizes = [(tuple(p.shape), p.dtype, p.requires_grad) for p in weights_of(one)]
    inputs = [(tuple(x.shape), x.stride(), x.dtype, x.requires_grad) for x in tensors_of(one.inputs)]
    return one.label, tuple(structure), tuple(sizes), tuple(inputs)


def trace(one: Segment, wanted: Collection[Way] | None) -> Known:
    """The costs of a segment, its outputs, and what its backward needs; `wanted` as `Tracer.ways`."""
    first = trace_way(one, Way.KEEP)
    # Without a backward all ways are one.
    others = one.ways[1:] if any(x.requires_grad for x in tensors_of(first.out)) else ()
    if wanted is None:
        runs = [first, *(computed_again(first) for way in others if way is Way.AGAIN)]
    else:
        runs = [first, *(trace_way(one, way) for way in others if way in wanted)]
    costs = tuple(run.cost._replace(again=run.cost.moved - first.cost.moved) for run in runs)
    dropped = tuple(tuple(not kept for kept in run.kept_inputs) for run in runs)
    gradients = sum(p.nbytes for p in weights_of(one) if p.requires_grad)
    return Known(
        Traced(one.label, costs, first.forward, first.backward), first.out, first.kept_outputs, dropped, gradients
    )
