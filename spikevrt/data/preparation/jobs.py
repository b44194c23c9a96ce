"""What the sub-commands of `prepare` do, with progress bars."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from tqdm import tqdm

from spikevrt.config import DataConfig
from spikevrt.data.clips.clip import all_clips, open_clip
from spikevrt.data.clips.voxel_cache import VoxelCache
from spikevrt.data.files.images import image_size
from spikevrt.data.files.stems import name_of
from spikevrt.data.files.video import (
    chosen,
    count_frames,
    exactly,
    frame_times,
    pictures_of,
    read_frames,
    warn_of_pixel_aspect,
)
from spikevrt.data.preparation.check import problems
from spikevrt.data.preparation.downloads import DATASETS, link_clip
from spikevrt.data.preparation.make import Target, make_clips, split_by_clip, split_by_time, whole_clip
from spikevrt.data.preparation.moving_photos import find_photos, moving_photo, require_room
from spikevrt.data.preparation.recipe import Movement, Recipe
from spikevrt.data.simulation.motion import Motion
from spikevrt.errors import UserError, one_line, shown, warn
from spikevrt_kernels.core.processes import cores

PHOTO_EXPOSURES = 12
"""Blurred frames per moving photo."""


def prepare_videos(
    sources: list[Path],
    out: Path,
    recipe: Recipe,
    split_by: str,
    train: float,
    val: float,
    splits: tuple[str, str],
    start: int | None = None,
    end: int | None = None,
) -> None:
    """Make clips from each source: one per split (split by time), or one in a single split (split by clip).

    Of each source the frames from `start` to `end` are taken, counted from 1; None = from the first, to the last.
    """
    names = [name_of(source) for source in sources]
    shared = sorted(name for name, times in Counter(names).items() if times > 1)
    if shared:
        raise UserError(f"sources share a name ({shown(', '.join(shared))}): rename them, clips are named by source")
    held_out = split_by_clip(names, val, recipe.camera.seed) if split_by == "clip" else set()
    for source, name in zip(sources, names, strict=True):
        whole = count_frames(source)
        part = chosen(whole, start, end)
        count = len(part)
        warn_of_pixel_aspect(source)
        if split_by == "time":
            targets = split_by_time(out, name, count, recipe, train, val, splits)
        else:
            targets = [whole_clip(out / splits[name in held_out] / name, count, recipe)]
        read = islice(exactly(read_frames(source), whole, source), part.start, part.stop)
        with tqdm(read, f"prepare {shown(name)}", count, unit="frame") as frames:
            motion = Motion()
            make_clips(frames, targets, recipe, source.name or name, motion)
        report(targets)
        print(one_line(f"{shown(name)}: {exposure_line(recipe, source)}{motion.line()}"))
        if warning := motion.warning(recipe.camera):
            warn(source, warning)


def prepare_photos(out: Path, names: Sequence[str], recipe: Recipe, split: str, movement: Movement, side: int) -> None:
    """Make a clip of `side` x `side` pixels of each photo; every sub-frame is rendered, none is interpolated."""
    rendered = recipe.rendered
    frames, size = rendered.exposure + 1 + rendered.stride * (PHOTO_EXPOSURES - 1), (side, side)
    photos, targets = find_photos(names), []
    for path in photos:  # Before the first clip is made.
        require_room(path, image_size(path), size)
    with tqdm(photos, "prepare photos", unit="clip") as paths:
        for number, path in enumerate(paths):
            seed = recipe.camera.seed + number
            fast = replace(rendered, camera=replace(rendered.camera, seed=seed))
            targets.append(Target(out / split / f"photo-{path.stem}", fast.centres(0, frames)))
            others = [*photos[number + 1 :], *photos[:number]]
            views = moving_photo(path, size, frames, seed, movement, others)
            make_clips(views, targets[-1:], fast, path.name, movement=movement)
    report(targets)


def exposure_line(recipe: Recipe, source: Path) -> str:
    """Text: how long an exposure is."""
    length = f"an exposure is {recipe.exposure} frames, {recipe.subframes} spike frames"
    if pictures_of(source) is not None:
        return length
    rate = frame_times(source).rate
    return f"{length}, {float(1000 * recipe.exposure / rate):.4g} ms at {float(rate):.5g} frames a second"


def report(targets: list[Target]) -> None:
    """Print one line per clip."""
    for target in targets:
        print(f"{one_line(str(target.folder))}: {len(target.centres)} blurred frames")


def check_tree(root: Path, data: DataConfig) -> int:
    """Print each problem on a line of its own; returns exit code 2 if there are any."""
    with tqdm(desc="check", unit="frame") as bar:

        def advance() -> None:
            bar.update()

        found = list(problems(root, data, advance))
    for line in found:
        print(one_line(line))
    print(f"{shown(str(root))}: {len(found)} problems" if found else f"{shown(str(root))}: nothing wrong")
    return 2 if found else 0


def import_dataset(name: str, source: Path, out: Path, data: DataConfig) -> int:
    """Link a downloaded data set into the unified layout, then check all of it; returns the exit code."""
    made = kept = 0
    with tqdm(DATASETS[name](source), f"import {name}", unit="clip") as clips:
        for clip in clips:
            if link_clip(clip, out):
                made += 1
            else:
                kept += 1
    if made + kept == 0:
        raise UserError(
            f"{source}: holds no clips as {name} is downloaded; python -m spikevrt.prepare import --help shows how"
        )
    print(f"{one_line(str(out))}: {made} clips made" + (f", {kept} were there already" if kept else ""))
    return check_tree(out, data)


def build_caches(root: Path, data: DataConfig, workers: int | None = None) -> int:
    """Make the voxel caches of all clips, on all cores unless `workers` is given; valid files are kept."""
    workers = workers or cores()
    made = 0
    clips = [open_clip(folder, data, need_sharp=False) for folder in all_clips(root, data)]
    caches = [VoxelCache(clip.folder, clip.spikes, data) for clip in clips if clip.spikes is not None]
    total = sum(len(clip.stems) for clip in clips)
    with tqdm(desc="voxels", unit="frame", total=total) as bar:

        def advance(stem: str) -> None:
            bar.update()

        for cache in caches:
            made += cache.build(advance, workers)
    print(f"{one_line(str(root))}: {made} voxel files made, {total - made} were whole already")
    return 0
