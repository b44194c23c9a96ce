"""Parameter groups and learning rate."""

import math

import torch
from torch import nn

from spikevrt.config import Config, TrainConfig
from spikevrt.models.vrt.spynet import SpyNet

BETAS = (0.9, 0.99)
FLOW_NAMES = ("spynet", "pa_deform")
"""Parts of the names of parameters that flow fine-tuning treats apart."""


def total_steps(train: TrainConfig, samples: int, world: int) -> int:
    """Optimiser steps of a run: MAX_STEPS, else EPOCHS * ceil(samples / draws a step)."""
    draws = train.batch_size * world * train.accumulate_grad
    return train.max_steps or train.epochs * math.ceil(samples / draws)


def learning_rate(train: TrainConfig, step: int, steps: int) -> float:
    """Rate of step 0..steps-1: linear warm-up from 0, then a cosine from LR to MIN_LR."""
    warmup = min(train.warmup_steps, steps - 1)
    if step < warmup:
        return train.lr * (step + 1) / warmup
    share = (step - warmup) / max(steps - warmup, 1)
    return train.min_lr + (train.lr - train.min_lr) * (1 + math.cos(math.pi * share)) / 2


def is_flow(name: str) -> bool:
    """SpyNet and the deformable layers."""
    return any(part in name for part in FLOW_NAMES)


def make_optimizer(model: nn.Module, train: TrainConfig) -> torch.optim.AdamW:
    """AdamW with two groups: everything else, then flow (`scale` is its share of the rate)."""
    named = list(model.named_parameters())
    groups = [
        {"params": [p for n, p in named if not is_flow(n)], "scale": 1.0},
        {"params": [p for n, p in named if is_flow(n)], "scale": train.flow_lr_scale},
    ]
    return torch.optim.AdamW(groups, lr=train.lr, betas=BETAS, weight_decay=train.weight_decay, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Apply a rate to all groups, each with its share."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]


def hold_flow_still(model: nn.Module, config: Config) -> None:
    """Start from no flow where SpyNet is frozen at a random start: it is not computed until it trains."""
    if config.train.freeze_flow_steps and config.model.vrt.pretrained is None:
        for module in model.modules():
            if isinstance(module, SpyNet):
                module.hold_still()


def freeze_flow(model: nn.Module, frozen: bool) -> None:
    """Freeze or thaw SpyNet and the deformable layers; frozen parts cost no backward."""
    for name, parameter in model.named_parameters():
        if is_flow(name):
            parameter.requires_grad_(not frozen)
            if frozen:
                parameter.grad = None
