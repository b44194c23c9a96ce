"""Which frames train and which are held out; no exposure ever touches both."""

from pathlib import Path

import numpy as np

from spikevrt.data.preparation.make import Target
from spikevrt.data.preparation.recipe import Recipe
from spikevrt.errors import UserError


def split_by_time(
    out: Path, name: str, frames: int, recipe: Recipe, train: float, val: float, splits: tuple[str, str]
) -> list[Target]:
    """The first `train` of the source frames and the last `val` of them; what lies between is left out."""
    if not 0 < train <= 1 or not 0 <= val <= 1 or train + val > 1 + 1e-9:
        raise UserError(f"--train {train} --val {val}: two shares of the time that sum to at most 1")
    edges = ((0, int(frames * train)), (frames - int(frames * val), frames))
    targets = [
        Target(out / split / name, recipe.centres(start, stop))
        for split, (start, stop) in zip(splits, edges, strict=True)
        if stop > start
    ]
    for target in targets:
        require_exposures(target, frames, recipe)
    return targets


def split_by_clip(names: list[str], val: float, seed: int) -> set[str]:
    """The names that are held out: a share `val` of the clips, at least one and not all, drawn by `seed`."""
    if len(names) < 2:
        raise UserError("--split-by clip: needs at least two sources; use --split-by time for one")
    if not 0 < val < 1:
        raise UserError(f"--val {val}: the share of the clips that is held out must lie between 0 and 1")
    count = min(max(1, round(len(names) * val)), len(names) - 1)
    chosen = np.random.default_rng(seed).choice(len(names), count, replace=False)
    return {names[i] for i in chosen}


def whole_clip(folder: Path, frames: int, recipe: Recipe) -> Target:
    """All of a source in one split."""
    target = Target(folder, recipe.centres(0, frames))
    require_exposures(target, frames, recipe)
    return target


def require_exposures(target: Target, frames: int, recipe: Recipe) -> None:
    """Raise a `UserError` where no exposure fits."""
    if not target.centres:
        raise UserError(
            f"{target.folder}: no exposure of {recipe.exposure} frames fits in its share of {frames} source frames; "
            "use a longer video or a shorter --exposure"
        )
