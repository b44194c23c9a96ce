"""One optimiser step: forward, loss and backward of each micro-batch, then clipping, AdamW and EMA."""

from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spikevrt.config import Config, TrainConfig
from spikevrt.data.clips.batches import Batch
from spikevrt.models import run_model
from spikevrt.models.half_weights import weights_in_half
from spikevrt.models.randomness import SampleRandomness
from spikevrt.models.segment_costs import Tracer
from spikevrt.models.segments import Plan, segment
from spikevrt.system.device import autocast, make_scaler
from spikevrt.training.distributed import accumulating
from spikevrt.training.loss import make_loss
from spikevrt.training.optimisation import WeightEMA, make_optimizer
from spikevrt_kernels.core.backends import planned_for_cuda


class StepCheck(NamedTuple):
    """What decides whether a step is taken: 0-d tensors on the device, for which the host has not waited."""

    norm: Tensor
    """L2 norm of all gradients together, before they are clipped."""
    bad_loss: Tensor
    """Whether the loss is not finite."""
    bad_gradients: Tensor
    """Whether the norm is not finite."""


class OptimiserStep:
    """Performs optimiser steps on a model, for the trainer and for measuring or planning a step.

    Args:
        model: a model on `device`.
        train: the TRAIN section: loss, optimiser, clipping, EMA.
        device: device of the model and its batches.
        half: autocast's type, or None for float32.
    """

    def __init__(self, model: nn.Module, train: TrainConfig, device: torch.device, half: torch.dtype | None) -> None:
        self.model = model
        self.train = train
        self.device = device
        self.half = half
        self.loss = make_loss(train)
        self.optimizer = make_optimizer(model, train)
        self.scaler = make_scaler(device, half)
        self.randomness = SampleRandomness(model, train.seed)
        self.ema = WeightEMA(model, train.ema_decay) if train.ema_decay else None
        self.plan: Plan | Tracer | None = None
        """What decides about the segments of a micro-batch, the loss included; None = each keeps what it saves."""

    def micro_batch(self, model: nn.Module, batch: Batch, last: bool = True) -> Tensor:
        """Run forward, loss and backward; returns this micro-batch's part of the loss, without waiting for it.

        Args:
            model: the model as it is called in this step: compiled or distributed.
            batch: on the device.
            last: whether it is the step's last one, whose backward averages the gradients over all processes.
        """
        weights = weights_in_half(self.model, self.half)
        followed = self.plan.followed() if self.plan is not None else nullcontext()
        with self.randomness.of(batch.draws, self.device), accumulating(model, last), weights, followed:
            with autocast(self.device, self.half):
                out = run_model(model, batch.blur, batch.voxels)
            loss = segment("loss", [], self.loss, out, batch.sharp) / self.train.accumulate_grad
            self.scaler.scale(loss).backward()
        return loss.detach()

    def clip(self, loss: Tensor) -> StepCheck:
        """Clip the gradients; returns what they and the loss were."""
        self.scaler.unscale_(self.optimizer)
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        most = self.train.clip_grad_norm or float("inf")
        # A plan on the CPU counts the few launches of CUDA's default.
        grouped = True if planned_for_cuda() and self.device.type == "cpu" else None
        norm = nn.utils.clip_grad_norm_(parameters, most, foreach=grouped)
        return StepCheck(norm, ~torch.isfinite(loss), ~torch.isfinite(norm))

    def finish(self, step: int, taken: bool) -> None:
        """Update the weights, unless the step is skipped, and clear the gradients; `step` counts from 1.

        A scaler whose gradients overflowed scales the next loss less.
        """
        if taken:
            self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if taken and self.ema is not None:
            self.ema.update(step)

    def scale(self) -> float:
        """What a scaler multiplies the next loss with, 0 without one; the host waits for the device."""
        return self.scaler.get_scale() if self.scaler.is_enabled() else 0.0

    def state(self) -> dict[str, Any]:
        """State of optimiser and scaler, for a checkpoint."""
        return {"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict()}

    def load(self, state: dict[str, Any], ema: dict[str, Tensor] | None) -> None:
        """Restore the result of `state`, and the EMA that was saved with it, for the weights that the model has now.

        The settings of the parameter groups stay those of this run's configuration.
        """
        settings = [{k: v for k, v in group.items() if k != "params"} for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(state["optimizer"])
        for group, own in zip(self.optimizer.param_groups, settings, strict=True):
            group.update(own)
        if state["scaler"]:  # Empty where the run did not compute in fp16 until now.
            self.scaler.load_state_dict(state["scaler"])
        if self.ema is not None:
            self.ema.load(ema)


def optimiser_step_of(
    model: nn.Module, config: Config, device: torch.device, half: torch.dtype | None
) -> OptimiserStep:
    """The trainer's step, without a gradient scaler; for a model on `device`."""
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
