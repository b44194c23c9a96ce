"""Weights to pass on: a safetensors file with the configuration inside, without the state of training.

Its metadata has one entry, `ENTRY`: JSON with `format`, `versions`, `config` and `step`.
"""

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

import spikevrt
from spikevrt.config import Config, config_to_tree
from spikevrt.errors import UserError

ENTRY = "spikevrt"
FORMAT = 1


def metadata_of(config: Config, step: int | None) -> dict[str, str]:
    """The metadata of a file with the weights of a model.

    Args:
        config: of the model.
        step: of the training that they are from, if it is known.
    """
    about = {"format": FORMAT, "versions": {"spikevrt": spikevrt.__version__}, "step": step}
    return {ENTRY: json.dumps({**about, "config": config_to_tree(config)})}


def as_stored(name: str, x: Tensor, half: bool) -> Tensor:
    """A weight, which is finite, as it is stored, in float16 if wanted.

    Raises:
        UserError: it holds values that are too large for float16.
    """
    x = x.detach().contiguous().clone()
    if not half or not x.is_floating_point():
        return x
    if not bool(x.half().isfinite().all()):
        raise UserError(f"{name}: holds values above {torch.finfo(torch.float16).max:g}; export without --half")
    return x.half()


def state_of(metadata: Mapping[str, str] | None, weights: dict[str, Tensor]) -> dict[str, Any]:
    """What a safetensors file holds, in the form of a checkpoint if it was exported here.

    Raises:
        ValueError: the entry is damaged.
    """
    if not metadata or ENTRY not in metadata:
        return weights
    about = json.loads(metadata[ENTRY])
    if not isinstance(about, dict):
        raise ValueError(f"the entry {ENTRY} is no object")
    return {**about, "training": {"step": about.get("step")}, "params": weights, "params_ema": weights}
