"""Makes clips of the unified layout from sharp frames; a long video is never in memory as a whole."""

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikevrt.data.clips.clip import NOTES_NAME
from spikevrt.data.files.atomic import new_folder, write_array
from spikevrt.data.files.images import write_png
from spikevrt.data.files.video import Frame, of_one_size
from spikevrt.data.preparation.recipe import Movement, Recipe, exposed
from spikevrt.data.simulation.camera import simulated, with_last_twice, write_geometry
from spikevrt.data.simulation.interpolation import subframes
from spikevrt.data.simulation.motion import Motion, measured
from spikevrt.errors import UserError


@dataclass(frozen=True)
class Target:
    """A clip to make: its folder, and the middle source frame of each exposure."""

    folder: Path
    centres: list[int]


def make_clips(
    frames: Iterable[Frame],
    targets: list[Target],
    recipe: Recipe,
    source: str,
    motion: Motion | None = None,
    movement: Movement | None = None,
) -> None:
    """Make clips in one pass over a sequence of sharp frames (H,W,3); each clip appears completely or not at all.

    `motion` notes how fast what the frames show moves; `movement` is how they were rendered, for the clip's notes.

    Raises:
        UserError: a clip exists already, the frames differ in size, or OpenCV, which is needed, is not installed.
    """
    for target in targets:
        if target.folder.exists():
            raise UserError(f"{target.folder}: exists already; remove it, or choose another --out")
    with ExitStack() as stack:
        workplaces = [stack.enter_context(new_folder(target.folder)) for target in targets]
        whole, camera = whole_blocks(frames, recipe.multiple), recipe.camera
        if camera.follows_flow:
            centres = [[centre * camera.factor for centre in target.centres] for target in targets]
            size = write_exposures(subframes(whole, camera.factor, motion), centres, workplaces, recipe.rendered)
        else:
            centres = [target.centres for target in targets]
            size = write_exposures(measured(whole, motion), centres, workplaces, recipe)
        for target, workplace in zip(targets, workplaces, strict=True):
            write_notes(workplace, size, target, recipe, source, movement)


def write_exposures(
    frames: Iterable[Frame],
    centres: list[list[int]],
    workplaces: list[Path],
    recipe: Recipe,
) -> tuple[int, int]:
    """Write every exposure as soon as its last sub-frame is known; returns the spikes' (h,w)."""
    factor = recipe.camera.factor
    waiting = sorted(
        (centre, number, workplace)
        for own, workplace in zip(centres, workplaces, strict=True)
        for number, centre in enumerate(own, 1)
    )
    sources: dict[int, Frame] = {}
    spikes: dict[int, NDArray[np.uint8]] = {}
    size = (0, 0)
    shots = simulated(with_last_twice(frames), recipe.camera)
    for index, shot in enumerate(shots):
        sources[index] = shot.frame
        size = shot.light.shape[0], shot.light.shape[1]
        # The spikes between the previous frame and this one.
        spikes.update(enumerate(shot.spikes, (index - 1) * factor))
        while waiting and recipe.sources(waiting[0][0])[1] <= index and recipe.exposure_at(waiting[0][0])[-1] in spikes:
            centre, number, workplace = waiting.pop(0)
            write_exposure(workplace, number, centre, sources, spikes, recipe)
        oldest = index - recipe.exposure - 2
        for old in [k for k in sources if k < oldest]:
            del sources[old]
        for old in [k for k in spikes if k < oldest * factor]:
            del spikes[old]
    return size


def write_exposure(
    folder: Path,
    number: int,
    centre: int,
    sources: dict[int, Frame],
    spikes: dict[int, NDArray[np.uint8]],
    recipe: Recipe,
) -> None:
    """Write the blurred frame, the sharp middle frame and all spikes of one exposure."""
    exposure = recipe.exposure_at(centre)
    write_png(folder / "blur" / f"{number:06}.png", exposed(sources, exposure, recipe, centre))
    write_png(folder / "sharp" / f"{number:06}.png", sources[centre])
    write_array(folder / "spike" / f"{number:06}.dat", np.stack([spikes[j] for j in exposure]))


def whole_blocks(frames: Iterable[Frame], multiple: int) -> Iterator[Frame]:
    """Crop frames of the same size to multiples of `multiple` pixels."""
    for frame in of_one_size(frames):
        H, W = (s // multiple * multiple for s in frame.shape[:2])
        if min(H, W) == 0:
            raise UserError(
                f"frames of {frame.shape[0]}x{frame.shape[1]} are smaller than {multiple} pixels; use larger ones"
            )
        yield frame[:H, :W]


def write_notes(
    folder: Path,
    spike_size: tuple[int, int],
    target: Target,
    recipe: Recipe,
    source: str,
    movement: Movement | None,
) -> None:
    """Write the geometry of the recordings in SpikeCV's format, and how the clip was made."""
    write_geometry(folder / "spike", "spike", spike_size)
    notes: dict[str, Any] = {"source": source, "centres": target.centres, **recipe.settings()}
    if movement is not None:
        notes |= {"movement": asdict(movement)}
    (folder / NOTES_NAME).write_text(json.dumps(notes, indent=1) + "\n", encoding="utf-8")


def split_by_time(
    out: Path, name: str, frames: int, recipe: Recipe, train: float, val: float, splits: tuple[str, str]
) -> list[Target]:
    """Two targets: the first share `train` of the source frames and the last share `val`; the rest is unused."""
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
    """The names of the validation clips: a share `val`, at least one and not all, chosen at random by `seed`."""
    if len(names) < 2:
        raise UserError("--split-by clip: needs at least two sources; use --split-by time for one")
    if not 0 < val < 1:
        raise UserError(f"--val {val}: the share of the clips that is held out must lie between 0 and 1")
    count = min(max(1, round(len(names) * val)), len(names) - 1)
    chosen = np.random.default_rng(seed).choice(len(names), count, replace=False)
    return {names[i] for i in chosen}


def whole_clip(folder: Path, frames: int, recipe: Recipe) -> Target:
    """The target for a whole source in one split."""
    target = Target(folder, recipe.centres(0, frames))
    require_exposures(target, frames, recipe)
    return target


def require_exposures(target: Target, frames: int, recipe: Recipe) -> None:
    """Raise a `UserError` if the target has no exposure."""
    if not target.centres:
        raise UserError(
            f"{target.folder}: no exposure of {recipe.exposure} frames fits in its share of {frames} source frames; "
            "use a longer video or a shorter --exposure"
        )
