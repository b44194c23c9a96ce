"""Where the frames of a clip come from, one at a time: a data set's clip, a folder of pictures, a video.

T frames of H x W pixels, K bins of h x w spike pixels.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import tee
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spikevrt.config import DataConfig
from spikevrt.data.clips.augmentation import Crop, Grid, centre_crop, cut, require_size, scaled
from spikevrt.data.clips.clip import Clip
from spikevrt.data.files.stems import by_stem
from spikevrt.data.files.video import frame_names, read_frames
from spikevrt.data.spikes.folder import SpikeFolder
from spikevrt.data.spikes.recording import SUFFIXES
from spikevrt.errors import UserError

Voxels = tuple[Tensor, Tensor]
"""Counts (K,h,w) and spike frames per bin (K,)."""


class Frame:
    """One blurred frame; its voxels are computed when a model first asks for them.

    Args:
        blur: (3,H,W) uint8.
        count: makes the voxels that the DATA section of a configuration describes.
    """

    def __init__(self, blur: Tensor, count: Callable[[DataConfig], Voxels]) -> None:
        self.blur = blur
        self._count = count
        self._voxels: dict[tuple[int, int], Voxels] = {}

    def voxels(self, data: DataConfig) -> Voxels:
        """The spikes of this frame; models that agree in DATA.K and DATA.SPIKE_TIME_OFFSET share them."""
        key = data.k, data.spike_time_offset
        if key not in self._voxels:
            self._voxels[key] = self._count(data)
        return self._voxels[key]


@dataclass(frozen=True)
class Source:
    """A clip to restore; iterating decodes it once more from the start."""

    label: str
    """For messages."""
    names: tuple[str, ...]
    """Stems of the frames, in order."""
    frames: Path
    """A folder of pictures, or a video file."""
    size: tuple[int, int]
    """(H,W) of the whole frames."""
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
        for name, image in zip(self.names, read_frames(self.frames), strict=True):
            blur = to_tensor(cut(image, crop, self.size, f"{self.label}: frame {name}"))
            yield Frame(blur, partial(self.voxels, name))

    def voxels(self, name: str, data: DataConfig) -> Voxels:
        """The spikes of the frame `name`; only of a source with spikes.

        Raises:
            UserError: its recording cannot be read.
        """
        if self.spikes is None:
            raise ValueError(f"{self.label}: voxels of a source without spikes")
        counts, bin_frames = self.spikes.voxels(name, data, scaled(self.crop or (0, 0, *self.size), self.grid.ratio))
        return torch.from_numpy(counts), torch.from_numpy(bin_frames)


def read_together(sources: Sequence[Source]) -> list[Iterator[Frame]]:
    """The frames of several sources of one clip and crop, each picture decoded once for all that read it.

    A frame is held until the slowest reader has taken it: readers should move in step.
    """
    readers: dict[Path, list[Iterator[Frame]]] = {}
    for source in sources:
        if source.frames not in readers:
            count = sum(other.frames == source.frames for other in sources)
            readers[source.frames] = list(tee(source, count))
    return [readers[source.frames].pop() for source in sources]


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
        grid=clip.grid,
        spikes=clip.spikes,
        crop=centre_crop(crop, clip.frame_size, clip.grid.step, "--crop") if crop else None,
    )


def recording_source(
    frames: Path, spikes: Path | None, data: DataConfig, progress: Callable[[], object] = lambda: None
) -> Source:
    """A folder of pictures, or a video, with a folder of spike files: one per frame, by stem or (video) in order, or
    one continuous recording (DATA.RECORDING). All of it is read once, to be counted and checked.

    Args:
        frames: a folder of pictures, or a video file.
        spikes: their folder; None for a model without spikes.
        data: what is set about the spikes.
        progress: called after every frame.

    Raises:
        UserError: nothing there, frames or spikes that cannot be read, or that do not belong together.
    """
    if spikes is not None and not spikes.is_dir():
        raise UserError(f"{spikes}: no such folder; --spikes names a folder with one .dat file for every frame")
    stems = frame_names(frames)
    # What is missing beside a folder of pictures is named before the first of them is decoded.
    found = SpikeFolder.open(spikes, stems, data, frames) if spikes is not None and stems is not None else None
    names, size = survey(frames, stems, progress)
    if spikes is not None and stems is None:
        found = spikes_of_video(spikes, names, data, frames)
    grid = Grid() if found is None else Grid.of(size, found.size)
    source = Source(label=str(frames), names=names, frames=frames, size=size, grid=grid, spikes=found)
    for name in () if found is None else names:
        source.voxels(name, data)
    return source


def survey(
    path: Path, stems: Sequence[str] | None, progress: Callable[[], object]
) -> tuple[tuple[str, ...], tuple[int, int]]:
    """Names of the frames and their size (H,W), by decoding all of them.

    Args:
        path: a folder of pictures, or a video file.
        stems: of the pictures; None for a video, whose frames are numbered from 1.
        progress: called after every frame.

    Raises:
        UserError: there are none, or one does not decode or is of another size.
    """
    names: list[str] = []
    size = (0, 0)
    for index, image in enumerate(read_frames(path)):
        names.append(f"{index + 1:06}" if stems is None else stems[index])
        size = (image.shape[0], image.shape[1]) if index == 0 else size
        require_size(image, size, f"{path}: frame {names[-1]}")
        progress()
    if not names:
        raise UserError(f"{path}: holds no frames")
    return tuple(names), size


def spikes_of_video(folder: Path, names: Sequence[str], data: DataConfig, frames: Path) -> SpikeFolder:
    """Spikes of frames without stems: files belong to them in order. Arguments as of `SpikeFolder.open`."""
    if data.recording.layout == "continuous":
        return SpikeFolder.open(folder, names, data, frames)
    stems = sorted(by_stem(folder, SUFFIXES))
    if len(stems) != len(names):
        raise UserError(f"{folder}: {len(stems)} .dat files beside the {len(names)} frames of {frames}; one per frame")
    return SpikeFolder.open(folder, stems, data, frames).renamed(names)
