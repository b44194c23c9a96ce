"""The recordings in a folder, and which spike frames of them belong to each RGB frame."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spikevrt.config import DataConfig
from spikevrt.data.files.stems import EXPECTED, require_same
from spikevrt.data.spikes.exposures import TABLE_NAME, exposures_for
from spikevrt.data.spikes.geometry import SpikeGeometry, geometry_for, home, recordings_in
from spikevrt.data.spikes.recording import Crop, SpikeFile
from spikevrt.errors import UserError, quoted
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
    def open(cls, place: Path, stems: Sequence[str], data: DataConfig, frames: Path) -> "SpikeFolder":
        """Find the recordings for the frames `stems`; their spikes are not read yet.

        Args:
            place: a folder with `.dat` or `.npz` files, and optionally `config.yaml` and `windows.csv`; or one
                recording, which then serves all frames.
            stems: stems of the RGB frames, in order of time.
            data: the DATA section: recordings and geometry.
            frames: folder of the RGB frames, for error messages.

        Raises:
            UserError: recordings are missing, too many or without a frame, or geometry or exposures are unknown.
        """
        found = recordings_in(place)
        require_recordings(place, found, data)
        shared = is_shared(place, found, data)
        if shared:
            found = dict.fromkeys(stems, shared_recording(place, found))
        elif len(found) == 1 < len(stems):
            raise UserError(
                f"{place}: holds 1 file beside {len(stems)} frames; a recording of the whole clip needs "
                f"DATA.RECORDING.LAYOUT=continuous, or {TABLE_NAME} beside it"
            )
        layout = replace(data.recording, layout="continuous") if shared else data.recording
        # A single frame needs no table: its exposure may be all of the recording.
        whole = place.is_file() and len(stems) == 1 and data.recording.layout == "files"
        exposures = exposures_for(home(place), stems, data.recording if whole else layout)
        require_same(place, found, frames, stems)
        return cls(geometry_for(place, data), {stem: found[stem] for stem in stems}, exposures)

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
        self.check_ends()
        for stem in self.files:
            self.recording(stem).exposure(time_offset)

    def check_ends(self) -> None:
        """Raise a `UserError` if one recording serves several frames and ends before the last of their exposures."""
        if len(self.files) < 2 or len(set(self.files.values())) > 1:
            return
        recording = SpikeFile(next(iter(self.files.values())), self.geometry)
        late = [stem for stem, part in self.exposures.items() if part.stop > recording.frames]
        if late:
            start, stop = quoted(self.exposures[late[0]].start), quoted(self.exposures[late[0]].stop)
            raise UserError(
                f"{recording.path}: {recording.frames} spike frames hold {len(self.files) - len(late)} of "
                f"{len(self.files)} exposures; frame {quoted(late[0])} asked for {start} to {stop}: leave out "
                f"frames without spikes, or check {TABLE_NAME} and the rates of DATA.RECORDING"
            )

    def voxels(self, stem: str, data: DataConfig, crop: Crop | None = None) -> tuple[NDArray, NDArray[np.int64]]:
        """Counts (K,h,w) and spike frames per bin (K,) of one exposure, computed from the recording."""
        recording = self.recording(stem)
        exposure = recording.exposure(data.spike_time_offset)
        counts = recording.voxels(data.k, crop, data.spike_time_offset)
        return counts, frames_per_bin(exposure.stop - exposure.start, data.k)


def is_shared(place: Path, found: Mapping[str, Path], data: DataConfig) -> bool:
    """Whether one recording serves every frame: DATA.RECORDING or a table says so, or it was named itself."""
    table = len(found) == 1 and (home(place) / TABLE_NAME).is_file()
    return data.recording.layout == "continuous" or place.is_file() or table


def shared_recording(place: Path, found: Mapping[str, Path]) -> Path:
    """The only recording.

    Raises:
        UserError: there are several.
    """
    if len(found) > 1:
        raise UserError(
            f"{place}: holds {len(found)} recordings; DATA.RECORDING.LAYOUT = continuous expects one, "
            "files expects one per frame"
        )
    return next(iter(found.values()))


def require_recordings(place: Path, found: Mapping[str, Path], data: DataConfig) -> None:
    """Raise a `UserError` if there are no recordings."""
    if not found:
        expected = "one recording" if data.recording.layout == "continuous" else f"one per frame ({EXPECTED})"
        raise UserError(
            f"{place}: holds no .dat files; expected {expected}; no voxel cache is needed "
            "(python -m spikevrt.prepare voxels ROOT makes one)"
        )
