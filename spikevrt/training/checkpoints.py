"""Training checkpoints: written whole or not at all, read without running code, checked against the configuration."""

import re
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import torch

import spikevrt
from spikevrt.config import Config, config_to_tree, free_keys
from spikevrt.data.files.atomic import replacing
from spikevrt.errors import UserError, one_line
from spikevrt.models.weights.digest import DamagedFileError, seal
from spikevrt.models.weights.files import read_state
from spikevrt.models.weights.origin import FORMAT, WEIGHTS_ALONE, check_format, stored_config
from spikevrt.training.checkpoint_entries import check_entries
from spikevrt.training.origin import differences

LAST, BEST = "last.pt", "best.pt"
NUMBERED = re.compile(r"step_(\d{8,})\.pt")
"""Names of numbered checkpoints; a copy with another name, as `step_00001000_good.pt`, is not touched."""

NOT_RESUMED = (
    "holds weights alone, from which no run continues; resume from last.pt or a numbered checkpoint, or start a new "
    "run from them with --init and another TRAIN.OUTPUT_DIR"
)


def save_checkpoint(path: Path, config: Config, state: dict[str, Any]) -> None:
    """Write `state` with configuration, versions and a digest; an interrupted save leaves the old file intact."""
    versions = {"spikevrt": spikevrt.__version__, "torch": torch.__version__.split("+")[0]}
    whole = {"format": FORMAT, "versions": versions, "config": config_to_tree(config), **state}
    with replacing(path) as temporary:
        with temporary.open("wb") as file:
            torch.save(whole, file)  # Into an open file: of a path, torch forgets what the system said.
        seal(temporary)


def weights_alone(state: dict[str, Any]) -> dict[str, Any]:
    """What `best.pt` keeps of the state of a run: the weights that are validated, with their step and score.

    Returns:
        The EMA of the weights if the run has one, otherwise the weights; a run cannot be resumed from it.
    """
    name = "params" if state["params_ema"] is None else "params_ema"
    training = {key: state["training"][key] for key in ("step", "best")}
    return {WEIGHTS_ALONE: True, name: state[name], "training": training}


def read_checkpoint(path: Path, config: Config) -> dict[str, Any]:
    """Read a training checkpoint that fits `config`: every entry has its type, its shapes and finite values.

    Raises:
        DamagedFileError: the file is damaged or no training checkpoint; the message names the entry.
        UserError: the file is missing, holds weights alone, a newer spikevrt wrote it, or its configuration differs
            (names the key).
    """
    state = read_state(path)
    if not {"format", "training", "versions"} & state.keys():
        raise DamagedFileError(
            f"checkpoint {path}: not a training checkpoint; use MODEL.VRT.PRETRAINED for bare weights"
        )
    check_format(state, path)
    if state.get(WEIGHTS_ALONE):
        raise UserError(f"checkpoint {path}: {NOT_RESUMED}")
    stored = stored_config(state, path)
    free = free_keys()
    for name, there, here in differences(config_to_tree(stored), config_to_tree(config)):
        if name == "DATA.K" or (name.startswith("MODEL.") and name not in free):
            raise UserError(
                f"checkpoint {path}: of another configuration ({name} = {there} there, {here} here); resume with the "
                "run's own config.yaml, or start in another TRAIN.OUTPUT_DIR"
            )
    check_entries(path, state, stored)
    return state


def newest_whole(folder: Path, config: Config) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint of a run that is whole, with its state; None in a folder without one to continue from.

    Newest is the one of the highest step among `last.pt`, the numbered ones and a `best.pt` that holds a whole state,
    as older versions wrote it. One that is damaged is passed over, and a printed line says so.

    Raises:
        UserError: a checkpoint is of another configuration, or there are checkpoints but none is whole.
    """
    passed: list[DamagedFileError] = []
    for path in by_step(folder):
        if told(path, WEIGHTS_ALONE):
            continue
        try:
            state = read_checkpoint(path, config)
        except DamagedFileError as error:
            passed.append(error)
            continue
        for damage in passed:
            print(one_line(f"{damage}; {path.name} (step {state['training']['step']}) is used instead"))
        return path, state
    if passed:
        raise UserError(
            f"{folder}: none of its {len(passed)} checkpoints is whole, nothing is started over them; "
            f"copy one back, or set another TRAIN.OUTPUT_DIR. The first: {passed[0]}"
        )
    return None


def by_step(folder: Path) -> list[Path]:
    """The checkpoints of a run, first those whose step cannot be told, then the newest."""
    paths = [path for path in (folder / LAST, *reversed(all_numbered(folder)), folder / BEST) if path.exists()]
    return sorted(paths, key=told_step, reverse=True)


def told_step(path: Path) -> float:
    """The step that a checkpoint names; infinity if it names none."""
    step = told(path, "training", "step")
    return float(step) if type(step) is int else float("inf")


def told(path: Path, *names: str) -> Any:
    """An entry of a checkpoint by the names of its levels, read without its tensors; None if it has none."""
    try:
        return reduce(getitem, names, torch.load(path, map_location="cpu", weights_only=True, mmap=True))
    except Exception:  # A damaged file can raise almost any exception; reading it tells which.
        return None


def numbered(folder: Path, step: int) -> Path:
    """Path of the numbered checkpoint of a step."""
    return folder / f"step_{step:08}.pt"


def all_numbered(folder: Path) -> list[Path]:
    """The numbered checkpoints of a run, the oldest first."""
    found = [(NUMBERED.fullmatch(path.name), path) for path in folder.iterdir()] if folder.is_dir() else []
    return [path for _, path in sorted((int(name[1]), path) for name, path in found if name)]


def drop_old(folder: Path, keep: int) -> None:
    """Delete all but the newest `keep` numbered checkpoints."""
    for path in all_numbered(folder)[::-1][keep:]:
        path.unlink()
