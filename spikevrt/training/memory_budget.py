"""Plans a training step for TRAIN.MEMORY_BUDGET_GB: what is kept for the backward pass, and what is computed again."""

from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from math import sqrt
from typing import NamedTuple

import torch
from torch import nn

from spikevrt.config import Config
from spikevrt.config.keys import AUTO
from spikevrt.config.limits import LEAST_PIXELS, MULTIPLE
from spikevrt.errors import UserError
from spikevrt.models import Backends, build_model
from spikevrt.models.memory_plan import Choice, all_kept, cheapest, smallest
from spikevrt.models.planning import leading_modules
from spikevrt.models.segment_costs import Traced, Tracer
from spikevrt.models.segment_runs import Work
from spikevrt.models.segments import Plan, Way
from spikevrt.system.memory import free_for_tensors
from spikevrt.training.optimiser_step import optimiser_step_of, random_batch
from spikevrt_kernels.core.backends import MAX_FRAMES, planning
from spikevrt_kernels.proof.memory import PeakMode, without_storage
from spikevrt_kernels.proof.operator_counter import OperatorTraffic, count_operators
from spikevrt_kernels.registry import DECLARED

CPU = torch.device("cpu")
GB = 10**9
WHOLE = (Way.KEEP, Way.AGAIN)
"""Ways that do not reach inside blocks, which torch.compile makes one piece."""
OF_ANY_LENGTH = ("sdpa", "naive")
"""Backends without a limit of frames."""
KEY = "TRAIN.MEMORY_BUDGET_GB"


class StepMemory(NamedTuple):
    """The memory of a training step, predicted on tensors without storage."""

    fixed: int
    """Bytes of weights, their copies, the optimiser's state and the batch."""
    segments: tuple[Traced, ...]
    elsewhere: Work
    """What a step does outside segments: casts of weights, loss, optimiser; nothing where it was not asked for."""

    @property
    def forward(self) -> int:
        """Bytes that the forward pass moves."""
        return sum(segment.forward.bytes for segment in self.segments)

    def peak(self, choice: Choice) -> int:
        """Peak bytes of a step."""
        return self.fixed + choice.peak

    def least(self) -> Choice:
        """The choice that needs the least memory."""
        return smallest(self.segments)

    def most(self) -> Choice:
        """The choice that computes nothing again."""
        return all_kept(self.segments)

    def within(self, budget: int) -> Choice | None:
        """The choice of the least work whose peak is at most `budget` bytes; None if there is none."""
        return cheapest(self.segments, budget - self.fixed)


def step_memory(
    config: Config,
    backends: Backends,
    half: torch.dtype | None,
    for_cuda: bool = True,
    ways: Collection[Way] | None = tuple(Way),
) -> StepMemory:
    """Trace the segments of a training step, each distinct one once: a dozen seconds for `default`.

    Args:
        config: gives TRAIN.BATCH_SIZE crops of DATA.CROP_SIZE; spikes have the frames' size.
        backends: of the operators; `triton` works on any machine.
        half: autocast's type, or None for float32.
        for_cuda: operators take the forms that they have on CUDA, otherwise those of the CPU.
        ways: that a choice may take; `Way.KEEP` is among them. None: a rough look at KEEP and AGAIN from one run of
            each segment, without what lies outside of segments.
    """
    if config.train.memory_budget_gb is None:
        # Otherwise blocks would follow USE_CHECKPOINT_ATTN and USE_CHECKPOINT_FFN.
        config = replace(config, train=replace(config.train, memory_budget_gb=AUTO))
    if config.train.compile and ways is not None:
        ways = [way for way in ways if way in WHOLE]
    with planning(for_cuda), torch.device("meta"):
        model = build_model(config, False, backends)
    with without_storage(for_cuda):
        with PeakMode() as mode:
            model.to_empty(device="cpu")
            one, batch = optimiser_step_of(model, config, CPU, half), random_batch(config, CPU)
            with_gradients(model)
            one.finish(1, taken=True)  # It makes the optimiser's state.
            if config.train.accumulate_grad > 1:
                with_gradients(model)  # Those of the micro-batches before.
            one.plan = tracer = Tracer(lambda: mode.now, ways, leading_modules(model))
            one.micro_batch(model, batch)
        segments = tracer.segments
        elsewhere = OperatorTraffic()
        if ways is not None:
            # Once more, with all segments known.
            tracer.begin_again()
            with_gradients(model)
            with count_operators(DECLARED) as elsewhere:
                one.clip(one.micro_batch(model, batch))
                one.finish(2, taken=True)
    assert tracer.fixed is not None
    return StepMemory(tracer.fixed, segments, Work.of(elsewhere))


def with_gradients(model: nn.Module) -> None:
    """Give a gradient to every parameter that takes one."""
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None


class Planned(NamedTuple):
    """What was chosen for TRAIN.MEMORY_BUDGET_GB."""

    ways: tuple[Way, ...]
    """Of each segment."""
    peak: int
    """Predicted peak bytes of a step."""
    line: str
    """Says what was chosen."""


def choose_ways(config: Config, backends: Backends, half: torch.dtype | None, device: torch.device) -> Planned:
    """The way of each segment for TRAIN.MEMORY_BUDGET_GB; `auto` asks for what the device has free now.

    Raises:
        UserError: nothing fits; the line names what would.
    """
    wanted = config.train.memory_budget_gb
    assert wanted is not None
    memory = step_memory(config, backends, half, for_cuda=device.type == "cuda")
    budget = free_for_tensors(device) if wanted == AUTO else int(float(wanted) * GB)
    choice = memory.within(budget)
    if choice is None:
        raise UserError(too_small(config, memory, wanted, budget))
    return Planned(choice.ways, memory.peak(choice), f"{KEY} = {wanted}: {described(memory, choice)}")


def plan_of(config: Config, backends: Backends, half: torch.dtype | None, device: torch.device) -> Plan | None:
    """The plan for TRAIN.MEMORY_BUDGET_GB; None without it."""
    if config.train.memory_budget_gb is None:
        return None
    return Plan(choose_ways(config, backends, half, device).ways)


def described(memory: StepMemory, choice: Choice) -> str:
    """One line about a choice."""
    counts = Counter(choice.ways)
    ways = ", ".join(f"{counts[way]} {way}" for way in Way if counts[way])
    return f"{figures(memory, choice)} ({ways})"


def figures(memory: StepMemory, choice: Choice) -> str:
    """The peak and the work of a choice as text."""
    return (
        f"predicted peak {memory.peak(choice) / GB:.2f} GB, at the segment '{choice.holder}'; computed again: "
        f"{choice.again / memory.forward:.2f} of a forward pass, by bytes moved"
    )


def too_small(config: Config, memory: StepMemory, wanted: str, budget: int) -> str:
    """The line for a budget that no choice meets."""
    free = f" ({budget / GB:.2f} GB are free)" if wanted == AUTO else ""
    return f"{KEY} = {wanted}{free}: {smaller(config, memory, budget)}"


def smaller(config: Config, memory: StepMemory, budget: int) -> str:
    """What to make smaller where no choice meets a budget, as text."""
    fitting = largest(config, memory, budget)
    remedy = f"about this fits: {' or '.join(fitting)}" if fitting else "choose a smaller model"
    return f"a step needs at least {memory.peak(memory.least()) / GB:.2f} GB; {remedy}"


def largest(config: Config, memory: StepMemory, budget: int) -> list[str]:
    """The largest batch, crop and clip that fit a budget about, each by itself, as options; those that do.

    All that segments hold grows with each of them in proportion, crops with their area.
    """
    share = max(0.0, (budget - memory.fixed) / memory.least().peak)
    frames = int(config.data.clip_len * share)
    sizes = (
        ("TRAIN.BATCH_SIZE", int(config.train.batch_size * share), 1),
        ("DATA.CROP_SIZE", int(config.data.crop_size * sqrt(share)) // MULTIPLE * MULTIPLE, LEAST_PIXELS),
        ("DATA.CLIP_LEN", frames if config.model.attn_backend in OF_ANY_LENGTH else min(frames, MAX_FRAMES), 2),
    )
    return [f"{key}={size}" for key, size, least in sizes if size >= least]
