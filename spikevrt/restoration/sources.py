"""Sources that provide the frames of a clip one at a time: a clip of a data set, a folder of pictures, a video.

T frames of H x W pixels, K bins of h x w spike pixels.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from itertools import tee
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spikevrt.config import DataConfig, RecordingConfig
from spikevrt.data.clips.augmentation import Crop, Grid, centre_crop, cut, require_size, scaled
from spikevrt.data.clips.clip import Clip
from spikevrt.data.files.images import checked_size, picture_files
from spikevrt.data.files.listing import natural_order
from spikevrt.data.files.video import exactly, frame_names, frame_times, read_frames
from spikevrt.data.spikes.exposures import TABLE_NAME, clock_exposures, read_exposure_table
from spikevrt.data.spikes.folder import SpikeFolder, is_shared
from spikevrt.data.spikes.geometry import home, recordings_in
from spikevrt.errors import UserError, warn

Voxels = tuple[Tensor, Tensor]
"""Counts (K,h,w) and spike frames per bin (K,)."""

RATE_TOLERANCE = 5e-4
"""Relative difference of frame rates below which they mean the same: 30 and 30000/1001 differ by 1e-3."""


class Frame:
    """One blurred frame; its voxels are computed when a model first needs them.

    Args:
        blur: (3,H,W) uint8, or floats in [0,1].
        count: computes the voxels for a DATA section.
    """

    def __init__(self, blur: Tensor, count: Callable[[DataConfig], Voxels]) -> None:
        self.blur = blur
        self._count = count
        self._voxels: dict[tuple[int, int], Voxels] = {}

    def voxels(self, data: DataConfig) -> Voxels:
        """The voxels of this frame; they are computed once per DATA.K and DATA.SPIKE_TIME_OFFSET."""
        key = data.k, data.spike_time_offset
        if key not in self._voxels:
            self._voxels[key] = self._count(data)
        return self._voxels[key]


@dataclass(frozen=True)
class Source:
    """A clip to restore; every iteration decodes it again from the start."""

    label: str
    """Name of the clip in messages."""
    names: tuple[str, ...]
    """Stems of the frames, in order."""
    frames: Path
    """Path of a folder of pictures or of a video file."""
    size: tuple[int, int]
    """(H,W) of the frames before cropping."""
    grid: Grid
    """How the pixel grids of frames and spikes are related."""
    spikes: SpikeFolder | None = None
    """Recordings by the names of the frames, or None."""
    crop: Crop | None = None
    """Crop in RGB pixels, at whole spike pixels; None = whole frames."""

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[Frame]:
        """Iterate over the frames in order; only one is in memory."""
        crop = self.crop or (0, 0, *self.size)
        images = exactly(read_frames(self.frames), len(self), self.frames)
        for name, image in zip(self.names, images, strict=True):
            blur = to_tensor(cut(image, crop, self.size, f"{self.label}: frame {name}"))
            yield Frame(blur, partial(self.voxels, name))

    def voxels(self, name: str, data: DataConfig) -> Voxels:
        """The voxels of the frame `name`; only for a source with spikes.

        Raises:
            UserError: its recording cannot be read.
        """
        if self.spikes is None:
            raise ValueError(f"{self.label}: voxels of a source without spikes")
        counts, bin_frames = self.spikes.voxels(name, data, scaled(self.crop or (0, 0, *self.size), self.grid.ratio))
        return torch.from_numpy(counts), torch.from_numpy(bin_frames)


def read_together(sources: Sequence[Source]) -> list[Iterator[Frame]]:
    """One iterator per source of the same clip and crop; each picture is decoded once for all of them.

    A frame stays in memory until the slowest iterator has passed it, so the iterators should advance together.
    """
    readers: dict[Path, list[Iterator[Frame]]] = {}
    for source in sources:
        if source.frames not in readers:
            count = sum(other.frames == source.frames for other in sources)
            readers[source.frames] = list(tee(source, count))
    return [readers[source.frames].pop() for source in sources]


def to_tensor(image: NDArray[np.uint8]) -> Tensor:
    """Convert (H,W,3) to (3,H,W)."""
    return torch.from_numpy(image.transpose(2, 0, 1).copy())


def clip_source(clip: Clip, data: DataConfig, crop: int | None = None) -> Source:
    """The source of a data set's clip, whole or only its centre `crop` x `crop` pixels."""
    return Source(
        label=str(clip.folder),
        names=clip.stems,
        frames=clip.folder / data.blur_dir,
        size=clip.frame_size,
        grid=clip.grid,
        spikes=clip.spikes,
        crop=centre_crop(crop, clip.frame_size, clip.grid.step, "--crop") if crop else None,
    )


def recording_source(frames: Path, spikes: Path | None, data: DataConfig) -> Source:
    """The source of a folder of pictures or a video, with a folder of spike recordings.

    There is one recording per frame, matched by stem or, for a video, in order; or one continuous recording
    (DATA.RECORDING). All files are looked at, but nothing is decoded except a video's first frame.

    Args:
        frames: a folder of pictures, or a video file.
        spikes: folder of the recordings, or one recording; None for a model without spikes.
        data: the DATA section.

    Raises:
        UserError: frames or spikes are missing or incomplete, or do not belong together.
    """
    if spikes is not None and not spikes.exists():
        raise UserError(f"{spikes}: no such folder; --spikes names a folder with one .dat file for every frame")
    stems = frame_names(frames)
    # For a folder of pictures, missing recordings are reported before the first picture is opened.
    found = SpikeFolder.open(spikes, stems, data, frames) if spikes is not None and stems is not None else None
    names, size = survey(frames, stems)
    if spikes is not None and stems is None:
        found = spikes_of_video(spikes, names, data, frames)
    grid = Grid() if found is None else Grid.of(size, found.size)
    if found is not None:
        found.check(data.spike_time_offset)
    return Source(label=str(frames), names=names, frames=frames, size=size, grid=grid, spikes=found)


def survey(path: Path, stems: Sequence[str] | None) -> tuple[tuple[str, ...], tuple[int, int]]:
    """The names and the size (H,W) of all frames, which are not decoded.

    Args:
        path: a folder of pictures, or a video file.
        stems: stems of the pictures; None for a video, whose frames are numbered from 1.

    Raises:
        UserError: there are no frames, or one is incomplete or has another size.
    """
    if stems:
        sizes = list(map(checked_size, picture_files(path) if path.is_dir() else [path]))
        for stem, size in zip(stems, sizes, strict=True):
            require_size(size, sizes[0], f"{path}: frame {stem}")
        return tuple(stems), sizes[0]
    first = next(read_frames(path), None)
    if first is None:
        raise UserError(f"{path}: holds no frames; name a video file or a folder of frames")
    count = frame_times(path).count
    return tuple(f"{number:06}" for number in range(1, count + 1)), (first.shape[0], first.shape[1])


def spikes_of_video(place: Path, names: Sequence[str], data: DataConfig, frames: Path) -> SpikeFolder:
    """The recordings of a video's frames, which have no stems: files, or lines of a table, are matched in order."""
    recordings = recordings_in(place)
    table = home(place) / TABLE_NAME
    if table.is_file():
        stems = sorted(read_exposure_table(table), key=natural_order)
    elif is_shared(place, recordings, data):
        stems = list(names)
    else:
        stems = list(recordings)
    if len(stems) != len(names):
        held = f"{TABLE_NAME} has {len(stems)} lines" if table.is_file() else f"{len(stems)} .dat files"
        raise UserError(f"{place}: {held} beside the {len(names)} frames of {frames}; one per frame")
    found = SpikeFolder.open(place, stems, data, frames).renamed(names)
    return found if table.is_file() or not found.exposures else on_time(found, data.recording, frames)


def on_time(found: SpikeFolder, recording: RecordingConfig, video: Path) -> SpikeFolder:
    """The same recordings, with exposures that start when the frames of a video do.

    The exposures of `found` come from the rates of DATA.RECORDING. Evenly spaced frames keep FRAME_RATE; a warning
    says if the video has another.
    """
    if recording.spike_rate is None or recording.frame_rate is None:
        return found
    timing, rate = frame_times(video), Fraction(recording.frame_rate)
    if timing.even:
        if abs(rate / timing.rate - 1) > RATE_TOLERANCE:
            warn(
                video,
                f"has {float(timing.rate):.6g} frames a second; DATA.RECORDING.FRAME_RATE={float(rate):g} is used",
            )
        return found
    warn(video, "its frames are unevenly spaced; its time stamps are followed, not DATA.RECORDING.FRAME_RATE")
    moments = [(time - timing.times[0]) * rate for time in timing.times]
    step = Fraction(recording.spike_rate) / rate
    exposures = clock_exposures(len(found.files), step, recording.length, moments)
    return replace(found, exposures=dict(zip(found.files, exposures, strict=True)))
