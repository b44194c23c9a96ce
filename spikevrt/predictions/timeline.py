"""The memory of a training step over the bytes that it moves: there is no time without a measurement."""

from collections.abc import Mapping
from dataclasses import dataclass

from spikevrt.models.memory_plan import Choice
from spikevrt.training.memory_budget import StepMemory


@dataclass(frozen=True)
class Stretch:
    """A segment's forward or backward."""

    segment: str
    """Its stage and what it does."""
    moved: int
    """Bytes that it moves."""
    peak: int
    """The most bytes that all tensors hold in it."""


@dataclass(frozen=True)
class Curve:
    """The memory of a step with one choice of what is computed again."""

    name: str
    forward: tuple[Stretch, ...]
    backward: tuple[Stretch, ...]
    """What follows the forward, the last segment first."""

    @property
    def all(self) -> tuple[Stretch, ...]:
        """The whole step."""
        return (*self.forward, *self.backward)

    @property
    def peak(self) -> int:
        """The most bytes."""
        return max(stretch.peak for stretch in self.all)

    @property
    def holder(self) -> str:
        """What runs at the peak."""
        sides = {"forward": self.forward, "backward": self.backward}
        return next(f"{one.segment}, {side}" for side, own in sides.items() for one in own if one.peak == self.peak)

    @property
    def moved(self) -> int:
        """Bytes that the step moves."""
        return sum(stretch.moved for stretch in self.all)


def curves(memory: StepMemory, named: Mapping[str, Choice | None]) -> tuple[Curve, ...]:
    """The curves of choices by name, where there is one."""
    return tuple(curve(name, memory, choice) for name, choice in named.items() if choice is not None)


def curve(name: str, memory: StepMemory, choice: Choice) -> Curve:
    """The memory of a step in the ways of a choice."""
    before = memory.fixed
    forward, backward = [], []
    for segment, way in zip(memory.segments, choice.ways, strict=True):
        cost = next(cost for cost in segment.costs if cost.way is way)
        label = segment.label if segment.label == segment.stage else f"{segment.stage}: {segment.label}"
        forward.append(Stretch(label, segment.forward.bytes, before + cost.forward_peak))
        backward.append(Stretch(label, cost.moved, before + cost.backward_peak))
        before += cost.kept
    return Curve(name, tuple(forward), tuple(reversed(backward)))
