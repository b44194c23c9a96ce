"""What a checkpoint of this project says of itself: its format, who wrote it, its configuration."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

import spikevrt
from spikevrt.config import Config, apply_option, config_from_tree
from spikevrt.errors import UserError, quoted, reason_of, shown
from spikevrt.models.weights.digest import DamagedFileError
from spikevrt.models.weights.files import described, read_state
from spikevrt.weights import weights_file

FORMAT = 1
"""Number of the layout that `spikevrt.training.checkpoints` writes."""
WEIGHTS_ALONE = "weights_alone"
"""Entry of a checkpoint without the state of training: it holds the EMA of the weights, or the weights without one."""
OWN_ENTRIES = {"training", "versions"}
"""Entries that tell a checkpoint of this project from another file with an entry `format`."""


def check_format(state: Mapping[str, Any], path: str | Path) -> None:
    """Raise a `UserError` for a checkpoint of a newer spikevrt, a `DamagedFileError` for one with another `format`."""
    if not OWN_ENTRIES & state.keys():
        return
    found = state.get("format")
    if type(found) is not int or found < 1:
        held = shown(found) if type(found) is int else described(found) if "format" in state else "missing"
        raise DamagedFileError(f"checkpoint {path}: format is {held}, must be {FORMAT}; use another checkpoint")
    if found > FORMAT:
        raise UserError(
            f"checkpoint {path}: a newer spikevrt wrote it (format {shown(found)}, this one reads {FORMAT}); "
            "update spikevrt"
        )


def stored_config(state: Mapping[str, Any], path: str | Path, options: Sequence[str] = ()) -> Config:
    """The configuration in a checkpoint, changed by `KEY=VALUE` options.

    Raises:
        DamagedFileError: the entry `config` is missing or wrong.
        UserError: an option is wrong.
    """
    tree = state.get("config")
    if not isinstance(tree, dict):
        held = described(tree) if "config" in state else "missing"
        raise DamagedFileError(
            f"checkpoint {path}: config is {held}, must be a dict of sections; use another checkpoint"
        )
    try:
        config = config_from_tree(tree)
    except (UserError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError, LookupError) as error:
        raise DamagedFileError(
            f"checkpoint {path}: config: {reason_of(error)}{writer(state)}; use another checkpoint"
        ) from None
    for option in options:
        apply_option(tree, option)
    return config_from_tree(tree) if options else config


def check_weights_are_there(state: Mapping[str, Any], config: Config, path: str | Path) -> None:
    """Raise a `DamagedFileError` for a checkpoint of this project without weights that it should hold."""
    if not OWN_ENTRIES & state.keys():
        return
    names = ("params", "params_ema") if config.train.ema_decay else ("params",)
    for name in names[-1:] if state.get(WEIGHTS_ALONE) else names:
        if not isinstance(state.get(name), Mapping):
            held = f"holds {described(state[name])}" if name in state else "is missing"
            raise DamagedFileError(f"checkpoint {path}: damaged: {name} {held}; use another checkpoint")


def check_size(weights: Mapping[str, Any], config: Config, path: str | Path) -> None:
    """Raise a `DamagedFileError` before a model is built that needs much more memory than weights of its size."""
    model, vrt = config.model, config.model.vrt
    largest = max((value.numel() for value in weights.values() if isinstance(value, Tensor)), default=0)
    width = max(*model.channels_per_scale, *vrt.embed_dims)
    needs = {
        "MODEL.CHANNELS_PER_SCALE or MODEL.VRT.EMBED_DIMS": width**2,
        "MODEL.WINDOW_SIZE": math.prod(2 * side - 1 for side in model.window_size),
        "MODEL.VRT.MLP_RATIO": vrt.mlp_ratio * width,
        "DATA.K": config.data.k,
    }
    for name, least in needs.items():
        if least > largest:
            raise DamagedFileError(
                f"checkpoint {path}: {name} is far above what its weights fit; give their own config"
            )
    if sum(vrt.depths) > len(weights):
        raise DamagedFileError(
            f"checkpoint {path}: MODEL.VRT.DEPTHS = {sum(vrt.depths)} blocks, but it holds only {len(weights)} "
            "weights; give their own config"
        )


def described_file(path: Path) -> dict[str, Any]:
    """What tells a file of weights apart from others: its place, its SHA-256 and, in a checkpoint, the step."""
    with weights_file(path).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"path": str(path), "sha256": digest, "step": step_of(read_state(path))}


def step_of(state: Mapping[str, Any]) -> int | None:
    """The step of a checkpoint; None for other files."""
    training = state.get("training")
    step = training.get("step") if isinstance(training, Mapping) else None
    return step if isinstance(step, int) else None


def writer(state: Mapping[str, Any]) -> str:
    """Who wrote a checkpoint, if it was another version of this project."""
    versions = state.get("versions")
    version = versions.get("spikevrt") if isinstance(versions, Mapping) else None
    if not isinstance(version, str) or version == spikevrt.__version__:
        return ""
    return f" (written by spikevrt {quoted(version)}, this is {spikevrt.__version__})"
