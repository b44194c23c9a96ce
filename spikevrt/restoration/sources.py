"""Where the frames of a clip come from, one at a time: a data set's clip, a folder of pictures, a video.

T frames of H x W pixels, K bins of h x w spike pixels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spikevrt.config import DataConfig
from spikevrt.data.clips.augmentation import Crop, Grid, centre_crop, cut, scaled
from spikevrt.data.clips.clip import Clip
from spikevrt.data.files.stems import by_stem
from spikevrt.data.files.video import count_frames, frame_names, read_frames
from spikevrt.data.spikes.folder import SpikeFolder
from spikevrt.data.spikes.recording import SUFFIXES
from spikevrt.errors import UserError


@dataclass(frozen=True)
class Frame:
    """One blurred frame (3,H,W) uint8 with its counts (K,h,w) and frames per bin (K,), or without spikes."""

    blur: Tensor
    counts: Tensor | None = None
    bin_frames: Tensor | None = None


@dataclass(frozen=True)
class Source:
    """A clip to restore; iterating reads it once more from the start."""

    label: str
    """For messages."""
    names: tuple[str, ...]
    """Stems of the frames, in order."""
    frames: Path
    """A folder of pictures, or a video file."""
    size: tuple[int, int]
    """(H,W) of the whole frames."""
    data: DataConfig
    grid: Grid
    """How frames and spikes lie over each other."""
    spikes: SpikeFolder | None = None
    """By the names of the frames."""
    crop: Crop | None = None
    """In RGB pixels, on whole spike pixels."""

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[Frame]:
        """Frames in order; only one is held."""
        crop = self.crop or (0, 0, *self.size)
        for index, image in enumerate(read_frames(self.frames)):
            blur = to_tensor(cut(image, crop, self.size, f"{self.label}: frame {self.names[index]}"))
            yield Frame(blur, *self._voxels(self.names[index], crop))

    def _voxels(self, name: str, crop: Crop) -> tuple[Tensor | None, Tensor | None]:
        if self.spikes is None:
            return None, None
        counts, bin_frames = self.spikes.voxels(name, self.data, scaled(crop, self.grid.ratio))
        return torch.from_numpy(counts), torch.from_numpy(bin_frames)


def to_tensor(image: NDArray[np.uint8]) -> Tensor:
    """(H,W,3) -> (3,H,W)."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def clip_source(clip: Clip, data: DataConfig, crop: int | None = None) -> Source:
    """A clip of a data set, whole or its centre `crop` x `crop` pixels."""
    return Source(
        label=str(clip.folder),
        names=clip.stems,
        frames=clip.folder / data.blur_dir,
        size=clip.frame_size,
        data=data,
        grid=clip.grid,
        spikes=clip.spikes,
        crop=centre_crop(crop, clip.frame_size, clip.grid.step, "--crop") if crop else None,
    )


def recording_source(frames: Path, spikes: Path | None, data: DataConfig) -> Source:
    """A folder of pictures, or a video, with a folder of spike files: one a frame, by stem or (video) in order, or one
    continuous recording (DATA.RECORDING).

    Raises:
        UserError: nothing there, or frames and spikes that do not belong together.
    """
    shape = next(read_frames(frames)).shape
    size = shape[0], shape[1]
    stems = frame_names(frames)
    names = tuple(stems if stems is not None else (f"{i:06}" for i in range(1, count_frames(frames) + 1)))
    source = Source(label=str(frames), names=names, frames=frames, size=size, data=data, grid=Grid())
    if spikes is None:
        return source
    if not spikes.is_dir():
        raise UserError(f"{spikes}: no such folder; --spikes names a folder with one .dat file for every frame")
    in_order = stems is None and data.recording.layout == "files"
    found = spikes_in_order(spikes, names, data, frames) if in_order else SpikeFolder.open(spikes, names, data, frames)
    return replace(source, spikes=found, grid=Grid.of(size, found.size))


def spikes_in_order(folder: Path, names: Sequence[str], data: DataConfig, frames: Path) -> SpikeFolder:
    """One file for every frame of a video, whatever their stems; arguments as of `SpikeFolder.open`."""
    stems = sorted(by_stem(folder, SUFFIXES))
    if len(stems) != len(names):
        raise UserError(f"{folder}: {len(stems)} .dat files beside the {len(names)} frames of {frames}; one a frame")
    return SpikeFolder.open(folder, stems, data, frames).renamed(names)
