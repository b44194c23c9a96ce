"""Measures or predicts the time and the peak memory of one optimiser step on random frames."""

import statistics
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn

from spikevrt.config import Config
from spikevrt.data.clips.batches import Batch
from spikevrt.models import build_model, choose_backends
from spikevrt.models.traffic import LEGEND, Counting, Places, details, type_name
from spikevrt.system.device import half_type, planned_half_type
from spikevrt.training.optimiser_step import OptimiserStep
from spikevrt_kernels.checks.timing import elapsed
from spikevrt_kernels.core.backends import BackendError, planning
from spikevrt_kernels.core.names import Backends
from spikevrt_kernels.proof.memory import predicted_peak, without_storage
from spikevrt_kernels.proof.operator_counter import OperatorTraffic, count_operators
from spikevrt_kernels.registry import DECLARED

CPU = torch.device("cpu")
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
    with without_storage(for_cuda=True):
        step = make_step(model.to_empty(device="cpu"), config, CPU, half)
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


def make_step(model: nn.Module, config: Config, device: torch.device, half: torch.dtype | None) -> Callable[[], None]:
    """A function that performs the trainer's step on data in memory, but does not ask whether the loss is finite.

    Args:
        model: a model on `device`.
        config: gives TRAIN.BATCH_SIZE crops of DATA.CROP_SIZE; spikes have the frames' size.
        device: device of the model and the batch.
        half: autocast's type, or None for float32.
    """
    one, batch = optimiser_step_of(model, config, device, half), random_batch(config, device)

    def step() -> None:
        one.clip(one.micro_batch(model, batch))
        one.finish(1, taken=True)

    return step


def optimiser_step_of(
    model: nn.Module, config: Config, device: torch.device, half: torch.dtype | None
) -> OptimiserStep:
    """The trainer's step, without a gradient scaler; arguments as in `make_step`."""
    model.train()
    one = OptimiserStep(model, config.train, device, half)
    one.scaler = torch.amp.GradScaler(device.type, enabled=False)  # A scaler needs its device, which a plan lacks.
    # The default on CUDA; a plan on the CPU must count its temporary tensors.
    one.optimizer.param_groups[0]["foreach"] = one.optimizer.param_groups[1]["foreach"] = True
    return one


def random_batch(config: Config, device: torch.device) -> Batch:
    """TRAIN.BATCH_SIZE random crops of DATA.CROP_SIZE; spikes have the frames' size."""
    B, T, S = config.train.batch_size, config.data.clip_len, config.data.crop_size
    blur, sharp = torch.rand(2, B, T, 3, S, S, device=device)
    voxels = torch.rand(B, T, config.data.k, S, S, device=device) if config.model.use_spike else None
    return Batch(blur, sharp, voxels)


def predicted_training_peak(config: Config, half: torch.dtype | None) -> int:
    """Predict the peak memory of a training step on CUDA in bytes, on any machine, for any backend but `auto`."""
    with planning(), torch.device("meta"):
        model = build_model(config, pretrained=False)
    return predicted_peak(lambda: make_step(model.to_empty(device="cpu"), config, CPU, half), for_cuda=True)


def measured_step(config: Config, device: torch.device) -> StepFigures:
    """Build the model, train a few steps and measure them.

    Raises:
        UserError: the named backend cannot run or is wrong.
        torch.OutOfMemoryError: the step does not fit into memory.
    """
    backends = choose_backends(config, device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    model = build_model(config, False, backends).to(device)
    step = make_step(model, config, device, half_type(device, config.train.mixed_precision))
    step()
    seconds = statistics.median(elapsed(step, device) for _ in range(TIMED_STEPS))
    return StepFigures(seconds, torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None)
