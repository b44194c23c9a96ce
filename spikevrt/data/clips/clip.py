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
from spikevrt.data.files.images import image_size, natural_order
from spikevrt.data.files.stems import EXPECTED, by_stem, require_same
from spikevrt.data.spikes.folder import SpikeFolder
from spikevrt.data.spikes.tfp import WHITE_RATE
from spikevrt.errors import UserError

NOTES = "clip.json"
"""How `spikevrt.prepare` made a clip, beside its folders."""


@dataclass(frozen=True)
class Clip:
    """One clip of a split; frames are found by their stem."""

    folder: Path
    stems: tuple[str, ...]
    blurred: dict[str, Path]
    sharp: dict[str, Path]
    """Empty where sharp frames were not asked for."""
    spikes: SpikeFolder | None
    """None where spikes were not asked for."""
    frame_size: tuple[int, int]
    """(H,W) of the frames."""

    @property
    def name(self) -> str:
        """The clip's folder."""
        return self.folder.name

    @cached_property
    def grid(self) -> Grid:
        """How frames and spikes lie over each other; without spikes any crop fits.

        Raises:
            UserError: they differ in shape.
        """
        return Grid() if self.spikes is None else Grid.of(self.frame_size, self.spikes.size)


def find_clips(data: DataConfig, split: str, need_sharp: bool = True, need_spikes: bool = True) -> list[Clip]:
    """All clips of a split, checked for matching frames, their length and whole spike files, before any work.

    Raises:
        UserError: DATA.ROOT missing, no such split, no clips, or a clip that is not whole.
    """
    if data.root is None:
        raise UserError("DATA.ROOT: required here; give --opts DATA.ROOT=PATH")
    folder = Path(data.root) / split
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; DATA.ROOT holds {EXPECTED}, made by spikevrt.prepare")
    folders = sorted(p for p in folder.iterdir() if (p / data.blur_dir).is_dir())
    if not folders:
        raise UserError(f"{folder}: holds no clips with a folder {data.blur_dir}; expected {EXPECTED}")
    clips = [open_clip(p, data, need_sharp, need_spikes) for p in folders]
    for clip in clips:
        if len(clip.stems) < data.clip_len:
            raise UserError(
                f"{clip.folder}: {len(clip.stems)} frames, fewer than DATA.CLIP_LEN = {data.clip_len}; "
                "remove the clip or lower DATA.CLIP_LEN"
            )
        if clip.spikes is not None:
            clip.spikes.check(data.spike_time_offset)
    return clips


def open_clip(folder: Path, data: DataConfig, need_sharp: bool = True, need_spikes: bool = True) -> Clip:
    """One clip, with the frames of its folders matched by their stems."""
    blurred = by_stem(folder / data.blur_dir, None)
    if not blurred:
        raise UserError(f"{folder / data.blur_dir}: holds no pictures")
    sharp = by_stem(folder / data.sharp_dir, None) if need_sharp else {}
    if need_sharp:
        require_same(folder / data.sharp_dir, sharp, folder / data.blur_dir, blurred)
    stems = tuple(sorted(blurred, key=natural_order))
    size = image_size(blurred[stems[0]])
    spikes = SpikeFolder.open(folder / data.spike_dir, stems, data, folder / data.blur_dir) if need_spikes else None
    return Clip(folder=folder, stems=stems, blurred=blurred, sharp=sharp, spikes=spikes, frame_size=size)


def clip_notes(folder: Path) -> dict[str, Any]:
    """How a clip was made, or nothing where that is not written down."""
    try:
        notes = json.loads((folder / NOTES).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return notes if isinstance(notes, dict) else {}


def white_rate(folder: Path) -> float:
    """Firing rate of white: 1 / theta where the simulator made the clip (`clip.json`), else `WHITE_RATE`."""
    theta = clip_notes(folder).get("theta")
    return 1 / float(theta) if theta else WHITE_RATE
