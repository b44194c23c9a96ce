"""Measures or predicts the time and the peak memory of one optimiser step on random frames."""

import statistics
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn

from spikevrt.config import Config
from spikevrt.models import build_model, choose_backends
from spikevrt.models.segments import Plan
from spikevrt.models.traffic import LEGEND, Counting, Places, details, type_name
from spikevrt.system.device import half_type, planned_half_type
from spikevrt.training.memory_budget import plan_of
from spikevrt.training.optimiser_step import optimiser_step_of, random_batch
from spikevrt_kernels.checks.timing import elapsed
from spikevrt_kernels.core.backends import BackendError, planning
from spikevrt_kernels.core.names import Backends
from spikevrt_kernels.proof.memory import predicted_peak, without_storage
from spikevrt_kernels.proof.operator_counter import OperatorTraffic, count_operators
from spikevrt_kernels.registry import DECLARED

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
TIMED_STEPS = 3


def step_traffic(
    config: Config, backend: str, half: torch.dtype | None, counting: Counting = count_operators
) -> OperatorTraffic:
    """The memory traffic of a training step on CUDA, the optimiser included, counted without running it.

    Args:
        config: configuration of the run.
        backend: triton, sdpa or naive; works on any machine.
        half: autocast's type, or None for float32.
        counting: as in `forward_traffic`.

    Raises:
        BackendError: the backend cannot run the model.
    """
    with planning(), torch.device("meta"):
        model = build_model(config, False, Backends.of(backend))
    plan = plan_of(config, Backends.of(backend), half, CUDA)
    with without_storage(for_cuda=True):
        step = make_step(model.to_empty(device="cpu"), config, CPU, half, plan)
        step()  # It makes the optimiser's state.
        with counting(DECLARED, Places(model)) as traffic:
            step()
    return traffic


def step_table(config: Config) -> str:
    """Tables of the traffic of a training step with the kernels, by part of the model and by kind of work."""
    half = planned_half_type(config.train.mixed_precision)
    try:
        found = step_traffic(config, "triton", half)
    except BackendError as error:
        return str(error)
    B, T, S = config.train.batch_size, config.data.clip_len, config.data.crop_size
    total = f"training step, {B}x{T}x3x{S}x{S}, triton: {found.bytes / 1e9:.1f} GB in {found.launches} launches"
    return f"{total}\n{LEGEND}\n\n{details(type_name(half), {'triton': found})}"


class StepFigures(NamedTuple):
    """What one step costs."""

    seconds: float
    """Median over a few steps, after one that compiles and warms up."""
    peak: int | None
    """Largest number of bytes allocated at a time, by CUDA's allocator; None on the CPU."""


def make_step(
    model: nn.Module, config: Config, device: torch.device, half: torch.dtype | None, plan: Plan | None = None
) -> Callable[[], None]:
    """A function that performs the trainer's step on data in memory, but does not ask whether the loss is finite.

    Args:
        model: a model on `device`.
        config: gives TRAIN.BATCH_SIZE crops of DATA.CROP_SIZE; spikes have the frames' size.
        device: device of the model and the batch.
        half: autocast's type, or None for float32.
        plan: what is computed again; None = what the model's own settings say.
    """
    one, batch = optimiser_step_of(model, config, device, half), random_batch(config, device)
    one.plan = plan

    def step() -> None:
        one.clip(one.micro_batch(model, batch))
        one.finish(1, taken=True)

    return step


def predicted_training_peak(config: Config, half: torch.dtype | None) -> int:
    """Predict the peak memory of a training step on CUDA in bytes, on any machine, for any backend but `auto`."""
    with planning(), torch.device("meta"):
        model = build_model(config, pretrained=False)
    plan = plan_of(config, Backends.of(config.model.attn_backend), half, CUDA)
    return predicted_peak(lambda: make_step(model.to_empty(device="cpu"), config, CPU, half, plan), for_cuda=True)


def measured_step(config: Config, device: torch.device) -> StepFigures:
    """Build the model, train a few steps and measure them.

    Raises:
        UserError: the named backend cannot run or is wrong.
        torch.OutOfMemoryError: the step does not fit into memory.
    """
    backends, half = choose_backends(config, device), half_type(device, config.train.mixed_precision)
    plan = plan_of(config, backends, half, device)  # Before the model takes a part of what is free.
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    step = make_step(build_model(config, False, backends).to(device), config, device, half, plan)
    step()
    seconds = statistics.median(elapsed(step, device) for _ in range(TIMED_STEPS))
    return StepFigures(seconds, torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None)
