"""The recordings in a folder, and which spike frames of them belong to each RGB frame."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spikevrt.config import DataConfig
from spikevrt.data.files.stems import EXPECTED, by_stem, require_same
from spikevrt.data.spikes.exposures import exposures_for
from spikevrt.data.spikes.geometry import SpikeGeometry, geometry_for
from spikevrt.data.spikes.recording import RECORDING_SUFFIXES, Crop, SpikeFile
from spikevrt.errors import UserError
from spikevrt_kernels.voxelize import frames_per_bin


@dataclass(frozen=True)
class SpikeFolder:
    """The recordings of a clip by the stems of its frames, in the order of the frames."""

    geometry: SpikeGeometry
    files: dict[str, Path]
    """Stem -> recording; a continuous recording stands there for every frame."""
    exposures: dict[str, slice]
    """Stem -> spike frames inside its recording; empty if every file is one exposure."""

    @classmethod
    def open(cls, folder: Path, stems: Sequence[str], data: DataConfig, frames: Path) -> "SpikeFolder":
        """Find the recordings in `folder` for the frames `stems`; their spikes are not read yet.

        Args:
            folder: holds `.dat` or `.npz` files, and optionally `config.yaml` and `windows.csv`.
            stems: stems of the RGB frames, in order of time.
            data: the DATA section: recordings and geometry.
            frames: folder of the RGB frames, for error messages.

        Raises:
            UserError: recordings are missing, too many or without a frame, or geometry or exposures are unknown.
        """
        found = find_recordings(folder, stems, data)
        exposures = exposures_for(folder, stems, data.recording)
        require_same(folder, found, frames, stems)
        return cls(geometry_for(folder, data), {stem: found[stem] for stem in stems}, exposures)

    def renamed(self, stems: Sequence[str]) -> "SpikeFolder":
        """The same recordings in the same order, for frames with other stems."""
        names = dict(zip(self.files, stems, strict=True))
        return replace(
            self,
            files={names[stem]: path for stem, path in self.files.items()},
            exposures={names[stem]: exposure for stem, exposure in self.exposures.items()},
        )

    @property
    def size(self) -> tuple[int, int]:
        """(h,w) of the spikes."""
        return self.geometry.height, self.geometry.width

    def recording(self, stem: str) -> SpikeFile:
        """The recording of one exposure.

        Raises:
            UserError: its file is missing or incomplete, or does not hold the exposure.
        """
        return SpikeFile(self.files[stem], self.geometry, self.exposures.get(stem))

    def check(self, time_offset: int) -> None:
        """Raise a `UserError` if a file is incomplete or does not hold its exposure; only file sizes are read."""
        for stem in self.files:
            self.recording(stem).exposure(time_offset)

    def voxels(self, stem: str, data: DataConfig, crop: Crop | None = None) -> tuple[NDArray, NDArray[np.int64]]:
        """Counts (K,h,w) and spike frames per bin (K,) of one exposure, computed from the recording."""
        recording = self.recording(stem)
        exposure = recording.exposure(data.spike_time_offset)
        counts = recording.voxels(data.k, crop, data.spike_time_offset)
        return counts, frames_per_bin(exposure.stop - exposure.start, data.k)


def find_recordings(folder: Path, stems: Sequence[str], data: DataConfig) -> dict[str, Path]:
    """Stem -> recording for every frame.

    Raises:
        UserError: there are no recordings, or several although DATA.RECORDING.LAYOUT is continuous.
    """
    files = by_stem(folder, RECORDING_SUFFIXES)
    continuous = data.recording.layout == "continuous"
    if not files:
        expected = "one recording" if continuous else f"one per frame ({EXPECTED})"
        raise UserError(
            f"{folder}: holds no .dat files; expected {expected}; no voxel cache is needed "
            "(python -m spikevrt.prepare voxels ROOT makes one)"
        )
    if continuous:
        if len(files) > 1:
            raise UserError(
                f"{folder}: holds {len(files)} recordings; DATA.RECORDING.LAYOUT = continuous expects one, "
                "files expects one per frame"
            )
        return dict.fromkeys(stems, next(iter(files.values())))
    if len(files) == 1 < len(stems):
        raise UserError(
            f"{folder}: holds 1 file beside {len(stems)} frames; a recording of the whole clip needs "
            "DATA.RECORDING.LAYOUT=continuous"
        )
    return files
