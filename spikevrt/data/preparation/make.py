"""Sharp frames in, clips of the unified layout out; a long video never lives in memory."""

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikevrt.data.images import write_png
from spikevrt.data.layout import NOTES
from spikevrt.data.preparation.recipe import Recipe, average
from spikevrt.data.simulator import SpikeSimulator, area_downsample, to_grey
from spikevrt.data.spike_file import write_packed
from spikevrt.errors import UserError

Frame = NDArray[np.uint8]


@dataclass(frozen=True)
class Target:
    """A clip to be made: where, and the middle source frames of its exposures."""

    folder: Path
    centres: list[int]


def make_clips(
    frames: Iterable[Frame],
    targets: list[Target],
    recipe: Recipe,
    source: str,
) -> None:
    """Make clips from one sequence of sharp (H,W,3) frames in one pass; each appears whole or not at all.

    Raises:
        UserError: a clip exists already, or frames change their size.
    """
    for target in targets:
        if target.folder.exists():
            raise UserError(f"{target.folder}: exists already; remove it, or choose another --out")
        target.folder.parent.mkdir(parents=True, exist_ok=True)
    workplaces = [Path(tempfile.mkdtemp(dir=t.folder.parent, prefix=f".{t.folder.name}-")) for t in targets]
    try:
        size = write_exposures(frames, targets, workplaces, recipe)
        for target, workplace in zip(targets, workplaces, strict=True):
            write_notes(workplace, size, target, recipe, source)
            workplace.chmod(0o755)
            workplace.rename(target.folder)
    finally:
        for workplace in workplaces:
            shutil.rmtree(workplace, ignore_errors=True)


def write_exposures(
    frames: Iterable[Frame],
    targets: list[Target],
    workplaces: list[Path],
    recipe: Recipe,
) -> tuple[int, int]:
    """Write every exposure as soon as its last sub-frame has passed; returns the spikes' (h,w)."""
    waiting = sorted(
        (centre, number, workplace)
        for target, workplace in zip(targets, workplaces, strict=True)
        for number, centre in enumerate(target.centres, 1)
    )
    reach = recipe.subframes
    rgb: dict[int, NDArray[np.float32]] = {}
    spikes: dict[int, Frame] = {}
    size = (0, 0)
    simulator: SpikeSimulator | None = None
    for j, subframe in interpolated(whole_blocks(frames, recipe.multiple), recipe.factor):
        small = area_downsample(to_grey(subframe), recipe.spike_scale)
        if simulator is None:
            size = (small.shape[0], small.shape[1])
            simulator = SpikeSimulator(*size, recipe.theta, recipe.seed, recipe.noise)
        rgb[j], spikes[j] = subframe, simulator.run(small[None])[0]
        while waiting and recipe.window(waiting[0][0])[-1] <= j:
            centre, number, workplace = waiting.pop(0)
            write_exposure(workplace, number, centre, rgb, spikes, recipe)
        for old in [k for k in rgb if k <= j - reach - recipe.factor]:
            del rgb[old], spikes[old]
    return size


def write_exposure(
    folder: Path,
    number: int,
    centre: int,
    rgb: dict[int, NDArray[np.float32]],
    spikes: dict[int, Frame],
    recipe: Recipe,
) -> None:
    """Blurred frame, sharp middle frame and all spikes of one exposure."""
    window = recipe.window(centre)
    blurred = average([rgb[j] for j in window], recipe.linear_light)
    write_png(folder / "blur" / f"{number:06}.png", blurred)
    write_png(folder / "sharp" / f"{number:06}.png", np.rint(rgb[centre * recipe.factor]).astype(np.uint8))
    write_packed(folder / "spike" / f"{number:06}.dat", np.stack([spikes[j] for j in window]))


def whole_blocks(frames: Iterable[Frame], multiple: int) -> Iterator[Frame]:
    """Frames cropped to multiples of `multiple` pixels, all of one size."""
    first: tuple[int, ...] | None = None
    for index, frame in enumerate(frames):
        first = first or frame.shape
        if frame.shape != first:
            raise UserError(f"frame {index} is {frame.shape[:2]}, the first one {first[:2]}: one size is needed")
        H, W = (s // multiple * multiple for s in frame.shape[:2])
        if min(H, W) == 0:
            raise UserError(f"frames of {frame.shape[0]}x{frame.shape[1]} are smaller than {multiple} pixels")
        yield frame[:H, :W]


def interpolated(frames: Iterable[Frame], factor: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """(j, sub-frame j) in order: `factor` of them from each frame towards the next, and the last frame itself."""
    j, previous = 0, None
    for frame in frames:
        current = frame.astype(np.float32)
        if previous is not None:
            for step in range(factor):
                yield j, previous + (current - previous) * np.float32(step / factor)
                j += 1
        previous = current
    if previous is not None:
        yield j, previous


def write_notes(folder: Path, spike_size: tuple[int, int], target: Target, recipe: Recipe, source: str) -> None:
    """The recordings' geometry in SpikeCV's form, and how the clip was made."""
    h, w = spike_size
    (folder / "spike" / "config.yaml").write_text(f"filename: spike\nspike_h: {h}\nspike_w: {w}\n")
    notes: dict[str, Any] = {"source": source, "centres": target.centres, **recipe.settings()}
    (folder / NOTES).write_text(json.dumps(notes, indent=1) + "\n")
