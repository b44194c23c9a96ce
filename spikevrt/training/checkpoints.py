"""Training checkpoints: written whole or not at all, read without running code, checked against the configuration."""

from pathlib import Path
from typing import Any

import torch

import spikevrt
from spikevrt.config import Config, config_from_tree, config_to_tree, free_keys
from spikevrt.data.files.atomic import replacing
from spikevrt.errors import UserError
from spikevrt.models.checkpoint import read_state

FORMAT = 1
LAST, BEST = "last.pt", "best.pt"


def save_checkpoint(path: Path, config: Config, state: dict[str, Any]) -> None:
    """Write `state` with configuration and versions; an interrupted save leaves the old file intact."""
    versions = {"spikevrt": spikevrt.__version__, "torch": torch.__version__.split("+")[0]}
    whole = {"format": FORMAT, "versions": versions, "config": config_to_tree(config), **state}
    with replacing(path) as temporary, temporary.open("wb") as file:
        torch.save(whole, file)  # Into an open file: of a path, torch forgets what the system said.


def read_checkpoint(path: Path, config: Config) -> dict[str, Any]:
    """Read a training checkpoint that fits `config`.

    Raises:
        UserError: the file is missing, damaged or no training checkpoint, or its configuration differs (names the key).
    """
    state = read_state(path)
    if state.get("format") != FORMAT or "training" not in state:
        raise UserError(f"checkpoint {path}: not a training checkpoint; use MODEL.VRT.PRETRAINED for bare weights")
    stored = config_from_tree(state["config"])
    difference = first_difference(config_to_tree(stored)["MODEL"], config_to_tree(config)["MODEL"], "MODEL.")
    if difference is None and stored.data.k != config.data.k:
        difference = f"DATA.K = {stored.data.k} there, {config.data.k} here"
    if difference is not None:
        raise UserError(
            f"checkpoint {path}: of another configuration ({difference}); resume with the run's own config.yaml, "
            "or start in another TRAIN.OUTPUT_DIR"
        )
    return state


def first_difference(there: dict[str, Any], here: dict[str, Any], prefix: str) -> str | None:
    """The first key that differs although it must not, with both values; None if there is none."""
    free = free_keys()
    for key, value in there.items():
        if isinstance(value, dict):
            found = first_difference(value, here[key], f"{prefix}{key}.")
            if found:
                return found
        elif f"{prefix}{key}" not in free and value != here[key]:
            return f"{prefix}{key} = {value} there, {here[key]} here"
    return None


def numbered(folder: Path, step: int) -> Path:
    """Path of the numbered checkpoint of a step."""
    return folder / f"step_{step:08}.pt"


def drop_old(folder: Path, keep: int) -> None:
    """Delete all but the newest `keep` numbered checkpoints."""
    files = sorted(folder.glob("step_*.pt"))
    for path in files[: len(files) - keep]:
        path.unlink()
