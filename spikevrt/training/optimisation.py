"""Parameter groups, learning rate, freezing of the flow, and the EMA of the weights."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from spikevrt.config import Config, TrainConfig
from spikevrt.models.vrt.spynet import SpyNet

BETAS = (0.9, 0.99)
FLOW_NAMES = ("spynet", "pa_deform")
"""Parts of parameter names; these parameters have their own learning rate and can be frozen."""


def draws_per_step(train: TrainConfig, world: int) -> int:
    """Samples of one optimiser step of all processes together."""
    return train.batch_size * train.accumulate_grad * world


def total_steps(train: TrainConfig, samples: int, world: int, step: int = 0, draws: int = 0) -> int:
    """Optimiser steps of a run: MAX_STEPS, else EPOCHS * ceil(samples / samples per step).

    Args:
        train: the TRAIN section.
        samples: samples of the data set.
        world: number of processes.
        step: steps that are done.
        draws: samples that they took. Only what is left of EPOCHS depends on the present size of a step, so a run that
            resumes with another one still ends after EPOCHS passes.
    """
    if train.max_steps:
        return train.max_steps
    size = draws_per_step(train, world)
    left = train.epochs * math.ceil(samples / size) * size - draws
    return step + max(0, math.ceil(left / size))


def learning_rate(train: TrainConfig, step: int, steps: int) -> float:
    """Learning rate of step 0..steps-1: linear warm-up from 0, then a cosine from LR to MIN_LR."""
    warmup = min(train.warmup_steps, steps - 1)
    if step < warmup:
        return train.lr * (step + 1) / warmup
    share = (step - warmup) / max(steps - warmup, 1)
    return train.min_lr + (train.lr - train.min_lr) * (1 + math.cos(math.pi * share)) / 2


def is_flow(name: str) -> bool:
    """Whether a parameter belongs to SpyNet or to the deformable layers."""
    return any(part in name for part in FLOW_NAMES)


def make_optimizer(model: nn.Module, train: TrainConfig) -> torch.optim.AdamW:
    """AdamW with two parameter groups: all others, then flow; `scale` multiplies a group's learning rate."""
    named = list(model.named_parameters())
    groups = [
        {"params": [p for n, p in named if not is_flow(n)], "scale": 1.0},
        {"params": [p for n, p in named if is_flow(n)], "scale": train.flow_lr_scale},
    ]
    return torch.optim.AdamW(groups, lr=train.lr, betas=BETAS, weight_decay=train.weight_decay, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of all groups, each multiplied by its `scale`."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]


def hold_flow_still(model: nn.Module, config: Config) -> None:
    """Set the flow to zero if SpyNet is frozen at random weights; it is then not computed until it trains."""
    if config.train.freeze_flow_steps and config.model.vrt.pretrained is None:
        for module in model.modules():
            if isinstance(module, SpyNet):
                module.hold_still()


def freeze_flow(model: nn.Module, frozen: bool) -> None:
    """Freeze or unfreeze SpyNet and the deformable layers; frozen parts need no backward pass."""
    for name, parameter in model.named_parameters():
        if is_flow(name):
            parameter.requires_grad_(not frozen)
            if frozen:
                parameter.grad = None


class WeightEMA:
    """EMA of the weights: after each step EMA <- d * EMA + (1 - d) * weights, d = min(decay, (1 + step) / (10 + step)).

    Args:
        model: its weights change in place; its integer buffers never change.
        decay: largest value of d.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = model
        self.decay = decay
        own = model.state_dict()
        self.state: dict[str, Tensor] = {k: v.detach().clone() for k, v in own.items()}
        moving = [k for k, v in own.items() if v.is_floating_point()]
        self._averages = [self.state[k] for k in moving]
        self._weights = [own[k] for k in moving]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Update the EMA after `step`; d is smaller early on, so that the initial weights fade quickly."""
        decay = min(self.decay, (1 + step) / (10 + step))
        get_ema_multi_avg_fn(decay)(self._averages, self._weights, step)

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor] | None) -> None:
        """Continue from a saved EMA; without one it starts at the weights as they are now."""
        source = self.model.state_dict() if state is None else state
        for name, value in source.items():
            self.state[name].copy_(value)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """While active, the model has the EMA in place of its weights."""
        own = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.model.load_state_dict(self.state)
        try:
            yield
        finally:
            self.model.load_state_dict(own)
