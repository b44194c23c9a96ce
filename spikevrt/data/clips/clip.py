"""The unified layout: `<root>/<split>/<clip>/{blur,sharp,spike}/<stem>.{png,dat}`.

`spike` may hold one continuous recording instead (DATA.RECORDING), and `.npz` instead of `.dat`.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from spikevrt.config import DataConfig
from spikevrt.data.clips.augmentation import Grid
from spikevrt.data.files.images import image_size
from spikevrt.data.files.listing import folders_in
from spikevrt.data.files.stems import EXPECTED, by_stem, require_same
from spikevrt.data.spikes.folder import SpikeFolder
from spikevrt.data.spikes.tfp import WHITE_RATE
from spikevrt.errors import UserError, quoted, warn

NOTES_NAME = "clip.json"
"""File in a clip's folder that says how `spikevrt.prepare` made the clip."""
LEAST_CLIP_LEN = 2
"""Frames of the shortest sample."""
LARGEST_THETA = 1e6
"""A camera of a larger threshold would hardly ever fire."""


@dataclass(frozen=True)
class Clip:
    """One clip of a split; files are found by the stem of their frame."""

    folder: Path
    stems: tuple[str, ...]
    blurred: dict[str, Path]
    sharp: dict[str, Path]
    """Stem -> file; empty where sharp frames are not needed."""
    spikes: SpikeFolder | None
    """None where spikes are not needed."""
    frame_size: tuple[int, int]
    """(H,W) of the frames."""

    @property
    def name(self) -> str:
        """The name of the clip's folder."""
        return self.folder.name

    @cached_property
    def grid(self) -> Grid:
        """How the pixel grids of frames and spikes are related; without spikes every crop fits.

        Raises:
            UserError: their aspect ratios differ.
        """
        return Grid() if self.spikes is None else Grid.of(self.frame_size, self.spikes.size)


def find_clips(data: DataConfig, split: str, need_sharp: bool = True, need_spikes: bool = True) -> list[Clip]:
    """All clips of a split; before any work, their frames, lengths and spike files are checked.

    Raises:
        UserError: DATA.ROOT is missing, the split does not exist or is empty, or a clip is incomplete.
    """
    if data.root is None:
        raise UserError("DATA.ROOT: required here; give --opts DATA.ROOT=PATH")
    folder = Path(data.root) / split
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; DATA.ROOT holds {EXPECTED}, made by spikevrt.prepare")
    folders = clips_in(folder, data)
    if not folders:
        raise UserError(f"{folder}: holds no clips with a folder {data.blur_dir}; expected {EXPECTED}")
    clips = [open_clip(p, data, need_sharp, need_spikes) for p in folders]
    for clip in clips:
        if len(clip.stems) < data.clip_len:
            raise UserError(
                f"{clip.folder}: {len(clip.stems)} frames, fewer than DATA.CLIP_LEN = {data.clip_len}; "
                f"remove the clip{or_shorter_samples(len(clip.stems))}"
            )
        if clip.spikes is not None:
            clip.spikes.check(data.spike_time_offset)
    return clips


def or_shorter_samples(frames: int) -> str:
    """How else a clip of so few frames can be used: nothing where even the shortest sample is longer."""
    return f", or set DATA.CLIP_LEN={frames} and TEST.CLIP_OVERLAP below it" if frames >= LEAST_CLIP_LEN else ""


def clips_in(split: Path, data: DataConfig) -> list[Path]:
    """The folders of a split that hold blurred frames, in natural order."""
    return [folder for folder in folders_in(split) if (folder / data.blur_dir).is_dir()]


def all_clips(root: Path, data: DataConfig) -> list[Path]:
    """The clips of all splits below `root`.

    Raises:
        UserError: there are none.
    """
    found = [clip for split in folders_in(root) for clip in clips_in(split, data)] if root.is_dir() else []
    if not found:
        raise UserError(f"{root}: holds no <split>/<clip>/{data.blur_dir} folders; name the folder of a data set")
    return found


def open_clip(folder: Path, data: DataConfig, need_sharp: bool = True, need_spikes: bool = True) -> Clip:
    """Open one clip and match the files of its folders by their stems."""
    blurred = by_stem(folder / data.blur_dir, None)
    if not blurred:
        raise UserError(f"{folder / data.blur_dir}: holds no pictures; remove the clip, or set DATA.BLUR_DIR")
    sharp = by_stem(folder / data.sharp_dir, None) if need_sharp else {}
    if need_sharp:
        require_same(folder / data.sharp_dir, sharp, folder / data.blur_dir, blurred)
    stems = tuple(blurred)
    size = image_size(blurred[stems[0]])
    spikes = SpikeFolder.open(folder / data.spike_dir, stems, data, folder / data.blur_dir) if need_spikes else None
    return Clip(folder=folder, stems=stems, blurred=blurred, sharp=sharp, spikes=spikes, frame_size=size)


def clip_notes(folder: Path) -> dict[str, Any]:
    """The notes on how a clip was made; empty where there are none, or, with a warning, none that can be read."""
    path = folder / NOTES_NAME
    try:
        notes = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError):
        notes = None
    if not isinstance(notes, dict):
        warn(path, "cannot be read as notes on the clip and counts as missing; restore it")
        return {}
    return notes


def white_rate(folder: Path) -> float:
    """Firing rate of a white pixel: 1 / theta if `clip.json` names the simulator's theta, else `WHITE_RATE`.

    Raises:
        UserError: the theta there is not a number that a simulator accepts.
    """
    theta = clip_notes(folder).get("theta")
    if theta is None:
        return WHITE_RATE
    if isinstance(theta, bool) or not isinstance(theta, int | float) or not 1 <= theta <= LARGEST_THETA:
        raise UserError(
            f"{folder / NOTES_NAME}: theta = {quoted(theta)} must be a number of at least 1; correct it, or remove it "
            f"(white is then taken to fire at {WHITE_RATE})"
        )
    return 1 / theta
