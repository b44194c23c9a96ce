"""A training run in float64, to compare runs beyond the rounding of float32; `python double.py CONFIG` trains one."""

import sys
from typing import Any

from torch import Tensor, nn

from spikevrt.config import Config, load_config
from spikevrt.training import optimiser_step, trainer
from spikevrt.training.distributed import joined_processes
from spikevrt.training.trainer import Trainer

build_model = trainer.build_model


def double_model(*arguments: Any, **options: Any) -> nn.Module:
    """The model in float64, which converts its float32 input."""
    model = build_model(*arguments, **options).double()
    model.register_forward_pre_hook(lambda _, inputs: tuple(x.double() for x in inputs))
    return model


def double_loss(output: Tensor, target: Tensor) -> Tensor:
    """The Charbonnier loss in float64."""
    return ((output - target.double()).square() + 1e-6).sqrt().mean()


def train_in_float64(config: Config) -> Trainer:
    """Train in this process, and in those that were started with it; returns the trainer at the end of its run."""
    before = trainer.build_model, optimiser_step.make_loss
    trainer.build_model, optimiser_step.make_loss = double_model, lambda train: double_loss
    try:
        with joined_processes("cpu") as processes:
            run = Trainer(config, processes)
            run.run()
    finally:
        trainer.build_model, optimiser_step.make_loss = before
    return run


if __name__ == "__main__":
    train_in_float64(load_config(sys.argv[1]))
