"""Sharp frames in, clips of the unified layout out; a long video never lives in memory."""

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikevrt.data.atomic import new_folder, replacing
from spikevrt.data.images import write_png
from spikevrt.data.layout import NOTES
from spikevrt.data.preparation.recipe import Recipe, average
from spikevrt.data.simulator import SpikeSensor, SpikeSimulator, write_geometry
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
    with ExitStack() as stack:
        workplaces = [stack.enter_context(new_folder(target.folder)) for target in targets]
        size = write_exposures(frames, targets, workplaces, recipe)
        for target, workplace in zip(targets, workplaces, strict=True):
            write_notes(workplace, size, target, recipe, source)


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
    sources: dict[int, Frame] = {}
    spikes: dict[int, Frame] = {}
    size = (0, 0)
    for index, (frame, spike_size, packed) in enumerate(simulated(whole_blocks(frames, recipe.multiple), recipe)):
        sources[index], size = frame, spike_size
        # What lies between the frame before and this one.
        spikes.update(enumerate(packed, (index - 1) * recipe.factor))
        while waiting and recipe.sources(waiting[0][0])[1] <= index and recipe.window(waiting[0][0])[-1] in spikes:
            centre, number, workplace = waiting.pop(0)
            write_exposure(workplace, number, centre, sources, spikes, recipe)
        oldest = index - recipe.exposure - 2
        for old in [k for k in sources if k < oldest]:
            del sources[old]
        for old in [k for k in spikes if k < oldest * recipe.factor]:
            del spikes[old]
    return size


def simulated(frames: Iterable[Frame], recipe: Recipe) -> Iterator[tuple[Frame, tuple[int, int], NDArray[np.uint8]]]:
    """Each frame, the spikes' (h,w), and their stored sub-frames from the frame before up to this one: `factor`, none
    for the first frame, one more (the last frame itself) at the end.
    """
    sensor, simulator = SpikeSensor(recipe.spike_scale, recipe.linear_light), None
    waiting: tuple[Frame, NDArray[np.float32]] | None = None
    empty = np.empty((0, 0), np.uint8)
    packed = empty
    for frame in frames:
        light = sensor(frame)
        if simulator is None or waiting is None:
            simulator = SpikeSimulator(light.shape[0], light.shape[1], recipe.theta, recipe.seed, recipe.noise)
        else:
            yield waiting[0], simulator.size, packed
            packed = simulator.run_between(waiting[1], light, recipe.factor)
        waiting = frame, light
    if waiting is not None and simulator is not None:
        light = waiting[1]
        final = simulator.run_between(light, light, 1)
        yield waiting[0], simulator.size, np.concatenate([packed, final]) if len(packed) else final


def write_exposure(
    folder: Path,
    number: int,
    centre: int,
    sources: dict[int, Frame],
    spikes: dict[int, Frame],
    recipe: Recipe,
) -> None:
    """Blurred frame, sharp middle frame and all spikes of one exposure."""
    window = recipe.window(centre)
    write_png(folder / "blur" / f"{number:06}.png", average(sources, window, recipe))
    write_png(folder / "sharp" / f"{number:06}.png", sources[centre])
    with replacing(folder / "spike" / f"{number:06}.dat") as temporary:
        np.stack([spikes[j] for j in window]).tofile(temporary)


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


def write_notes(folder: Path, spike_size: tuple[int, int], target: Target, recipe: Recipe, source: str) -> None:
    """The recordings' geometry in SpikeCV's form, and how the clip was made."""
    write_geometry(folder / "spike", "spike", spike_size)
    notes: dict[str, Any] = {"source": source, "centres": target.centres, **recipe.settings()}
    (folder / NOTES).write_text(json.dumps(notes, indent=1) + "\n")
