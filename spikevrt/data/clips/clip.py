"""The unified layout: `<root>/<split>/<clip>/{blur,sharp,spike}/<stem>.{png,dat}`.

`spike` may hold one continuous recording instead (DATA.RECORDING), and `.npz` instead of `.dat`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spikevrt.config import DataConfig
from spikevrt.data.files.images import image_size, natural_order, picture_files
from spikevrt.data.spikes.exposures import windows_for
from spikevrt.data.spikes.geometry import SpikeGeometry, geometry_for
from spikevrt.data.spikes.recording import SUFFIXES, SpikeFile
from spikevrt.data.spikes.tfp import WHITE_RATE
from spikevrt.errors import UserError

NOTES = "clip.json"
"""How `spikevrt.prepare` made a clip, beside its folders."""
EXPECTED = "<root>/<split>/<clip>/{blur,sharp,spike}/000001.{png,png,dat}"
SHOWN = 3


@dataclass(frozen=True)
class Clip:
    """One clip of a split; frames are found by their stem."""

    folder: Path
    stems: tuple[str, ...]
    blurred: dict[str, Path]
    sharp: dict[str, Path]
    """Empty where sharp frames were not asked for."""
    spikes: dict[str, Path]
    """Empty where spikes were not asked for; the same recording for every frame where it is continuous."""
    frame_size: tuple[int, int]
    """(H,W) of the frames."""
    geometry: SpikeGeometry | None
    windows: dict[str, slice] = field(default_factory=dict)
    """Spike frames of each exposure inside its recording; empty where every file is one exposure."""

    @property
    def name(self) -> str:
        """The clip's folder."""
        return self.folder.name

    def recording(self, stem: str) -> SpikeFile:
        """The spikes of one exposure; only of a clip whose spikes were asked for."""
        assert self.geometry is not None
        return SpikeFile(self.spikes[stem], self.geometry, self.windows.get(stem))


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
        if clip.geometry is not None:
            for stem in clip.spikes:
                clip.recording(stem).window(data.spike_time_offset)
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
    if not need_spikes:
        return Clip(folder, stems, blurred, sharp, {}, size, None)
    spikes, windows = find_spikes(folder / data.spike_dir, stems, data)
    require_same(folder / data.spike_dir, spikes, folder / data.blur_dir, blurred)
    return Clip(folder, stems, blurred, sharp, spikes, size, geometry_for(folder / data.spike_dir, data), windows)


def find_spikes(folder: Path, stems: Sequence[str], data: DataConfig) -> tuple[dict[str, Path], dict[str, slice]]:
    """The recording of every frame, and its window inside it (empty where every file is one exposure).

    Raises:
        UserError: no recordings, or several where DATA.RECORDING.LAYOUT says that one holds all.
    """
    files = by_stem(folder, SUFFIXES)
    continuous = data.recording.layout == "continuous"
    if not files:
        expected = "one recording" if continuous else f"one a frame ({EXPECTED})"
        raise UserError(
            f"{folder}: holds no .dat files; expected {expected}; no voxel cache is needed "
            "(python -m spikevrt.prepare --voxels ROOT makes one)"
        )
    if continuous:
        if len(files) > 1:
            raise UserError(
                f"{folder}: holds {len(files)} recordings; DATA.RECORDING.LAYOUT = continuous expects one, "
                "files expects one a frame"
            )
        files = dict.fromkeys(stems, next(iter(files.values())))
    elif len(files) == 1 < len(stems):
        raise UserError(
            f"{folder}: holds 1 file beside {len(stems)} frames; a recording of the whole clip needs "
            "DATA.RECORDING.LAYOUT=continuous"
        )
    return files, windows_for(folder, stems, data.recording)


def by_stem(folder: Path, suffix: str | tuple[str, ...] | None) -> dict[str, Path]:
    """Files of a folder by stem: pictures, or files of the given suffixes; empty where there is no folder."""
    if not folder.is_dir():
        return {}
    if suffix is None:
        files = picture_files(folder)
    else:
        wanted = (suffix,) if isinstance(suffix, str) else suffix
        files = sorted(p for p in folder.iterdir() if p.suffix.lower() in wanted)
    found: dict[str, Path] = {}
    for path in files:
        if path.name.startswith("."):
            continue
        other = found.setdefault(path.stem, path)
        if other != path:
            raise UserError(f"{folder}: holds {other.name} and {path.name}; a frame has one file, remove one of them")
    return found


def require_same(folder: Path, files: dict[str, Path], other: Path, wanted: dict[str, Path]) -> None:
    """Raise a `UserError` where two folders do not hold the same stems."""
    missing, extra = sorted(wanted.keys() - files.keys()), sorted(files.keys() - wanted.keys())
    if missing or extra:
        parts = [f"missing {', '.join(missing[:SHOWN])}"] if missing else []
        parts += [f"without a counterpart {', '.join(extra[:SHOWN])}"] if extra else []
        raise UserError(
            f"{folder}: {len(files)} files beside {len(wanted)} in {other} ({'; '.join(parts)}); "
            "every frame needs one file of the same stem in each folder"
        )


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
