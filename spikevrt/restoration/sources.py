"""Where the frames of a clip come from, one at a time: a data set's clip, a folder of pictures, a video.

T frames of H x W pixels, K bins of h x w spike pixels.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spikevrt.config import DataConfig
from spikevrt.data.clips.augmentation import Crop, centre_crop, cut, pixel_step, scaled
from spikevrt.data.clips.clip import Clip, by_stem, find_spikes, require_same
from spikevrt.data.clips.voxel_cache import read_voxels
from spikevrt.data.files.video import count_frames, frame_names, read_frames
from spikevrt.data.spikes.geometry import SpikeGeometry, geometry_for
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
    """One a frame."""
    frames: Path
    """A folder of pictures, or a video file."""
    size: tuple[int, int]
    """(H,W) of the whole frames."""
    data: DataConfig
    spikes: tuple[Path, ...] = ()
    """One a frame, or none at all."""
    geometry: SpikeGeometry | None = None
    crop: Crop | None = None
    """In RGB pixels, on whole spike pixels."""
    windows: tuple[slice, ...] = ()
    """Of every frame inside its recording, or none at all."""

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[Frame]:
        """Frames in order; only one is held."""
        crop = self.crop or (0, 0, *self.size)
        for index, image in enumerate(read_frames(self.frames)):
            blur = to_tensor(cut(image, crop, self.size, f"{self.label}: frame {self.names[index]}"))
            yield Frame(blur, *self._voxels(index, crop))

    def _voxels(self, index: int, crop: Crop) -> tuple[Tensor | None, Tensor | None]:
        if self.geometry is None:
            return None, None
        _, ratio = pixel_step(self.size, (self.geometry.height, self.geometry.width))
        window = self.windows[index] if self.windows else None
        view = scaled(crop, ratio)
        counts, bin_frames = read_voxels(self.spikes[index], self.geometry, self.data, view, window)
        return torch.from_numpy(counts), torch.from_numpy(bin_frames)


def to_tensor(image: NDArray[np.uint8]) -> Tensor:
    """(H,W,3) -> (3,H,W)."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def clip_source(clip: Clip, data: DataConfig, crop: int | None = None) -> Source:
    """A clip of a data set, whole or its centre `crop` x `crop` pixels."""
    step = 1
    if clip.geometry is not None:
        step, _ = pixel_step(clip.frame_size, (clip.geometry.height, clip.geometry.width))
    return Source(
        str(clip.folder),
        clip.stems,
        clip.folder / data.blur_dir,
        clip.frame_size,
        data,
        tuple(clip.spikes[stem] for stem in clip.stems) if clip.spikes else (),
        clip.geometry,
        centre_crop(crop, clip.frame_size, step, "--crop") if crop else None,
        tuple(clip.windows.values()),
    )


def recording_source(frames: Path, spikes: Path | None, data: DataConfig) -> Source:
    """A folder of pictures, or a video, with a folder of spike files: one a frame, by stem or (video) in order, or one
    continuous recording (DATA.RECORDING).

    Raises:
        UserError: nothing there, or frames and spikes that do not belong together.
    """
    size = next(read_frames(frames)).shape
    stems = frame_names(frames)
    names = tuple(stems if stems is not None else (f"{i:06}" for i in range(1, count_frames(frames) + 1)))
    if spikes is None:
        return Source(str(frames), names, frames, (size[0], size[1]), data)
    if not spikes.is_dir():
        raise UserError(f"{spikes}: no such folder; --spikes names a folder with one .dat file for every frame")
    in_order = stems is None and data.recording.layout == "files"
    files = by_stem(spikes, SUFFIXES)
    if in_order and len(files) != len(names):
        raise UserError(f"{spikes}: {len(files)} .dat files beside the {len(names)} frames of {frames}; one a frame")
    found, windows = find_spikes(spikes, tuple(sorted(files)) if in_order else names, data)
    if not in_order:
        require_same(spikes, found, frames, dict.fromkeys(names, frames))
    geometry = geometry_for(spikes, data)
    pixel_step((size[0], size[1]), (geometry.height, geometry.width))
    order = sorted(files) if in_order else names
    ordered, cuts = tuple(found[s] for s in order), tuple(windows[s] for s in order if windows)
    return Source(str(frames), names, frames, (size[0], size[1]), data, ordered, geometry, None, cuts)
