"""A small training state, as a run would save it, made without a data set."""

from pathlib import Path
from typing import Any

import torch

from spikevrt.config import Config
from spikevrt.models import build_model
from spikevrt.training.optimiser_step import OptimiserStep
from tests.small_data import small_config

CPU = torch.device("cpu")


def tiny_config(*options: str) -> Config:
    """The smallest model; no data lie under its DATA.ROOT."""
    return small_config(Path("nowhere"), "MODEL.VRT.DEPTHS=[1,1,1,1,1,1,1,1,1]", *options)


def trained_state(config: Config, step: int = 2) -> dict[str, Any]:
    """The state after one optimiser step with invented gradients; it says that it is of `step`."""
    torch.manual_seed(0)
    optimiser = OptimiserStep(build_model(config), config.train, CPU, None)
    for parameter in optimiser.model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimiser.finish(1, taken=True)
    training = {"step": step, "best": 20.5, "bad_steps": 0, **optimiser.state()}
    ema = optimiser.ema.state if optimiser.ema is not None else None
    return {"params": optimiser.model.state_dict(), "params_ema": ema, "training": training}
