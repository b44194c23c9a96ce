"""What a training step computes and moves, by part of the model."""

from dataclasses import dataclass

from spikevrt.models.segment_runs import Work
from spikevrt.training.memory_budget import StepMemory

ELSEWHERE = "casts, clipping, optimiser"
Figures = dict[str, int]
"""`bytes` moved, `launches`, and `flops`: multiplications and additions of products and convolutions."""


@dataclass(frozen=True)
class StageWork:
    """The work of a part of the model where everything is kept for the backward pass."""

    stage: str
    forward: Figures
    backward: Figures


def work_by_stage(memory: StepMemory) -> tuple[StageWork, ...]:
    """The parts in forward order; at the end what is outside of them, which counts as backward."""
    sums: dict[str, tuple[Work, Work]] = {}
    for segment in memory.segments:
        forward, backward = sums.get(segment.stage, (Work(), Work()))
        sums[segment.stage] = forward.plus(segment.forward), backward.plus(segment.backward)
    sums[ELSEWHERE] = Work(), memory.elsewhere
    return tuple(StageWork(stage, one._asdict(), other._asdict()) for stage, (one, other) in sums.items())


def inside_kernels(memory: StepMemory) -> float:
    """What backward kernels compute again inside themselves, in forward passes: products beyond twice the forward's."""
    forward, backward = (sum(getattr(one, side).flops for one in memory.segments) for side in ("forward", "backward"))
    return max(0.0, backward / forward - 2) if forward else 0.0
