"""The voxel cache: counts of whole frames beside a clip, `<clip>/spike_vox/<key>/<stem>.npy`.

The key is a digest of all that shapes the counts; each file's source is remembered by size and time of change.
Training needs no cache.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spikevrt.config import DataConfig
from spikevrt.data.atomic import replacing
from spikevrt.data.layout import Clip
from spikevrt.data.spike_file import Crop, SpikeFile
from spikevrt.data.spike_geometry import SpikeGeometry
from spikevrt_kernels.voxelize import frames_per_bin

VERSION = 1
META = "meta.json"


class VoxelCache:
    """The cache of one clip for one configuration."""

    def __init__(self, clip: Clip, data: DataConfig) -> None:
        assert clip.geometry is not None
        self.clip, self.data, self.geometry = clip, data, clip.geometry
        self.folder = clip.folder / data.voxel_cache_dirname / self.key()
        self._sources = self._read_sources()

    def settings(self) -> dict[str, int | str | bool]:
        """All that shapes the counts."""
        g = self.geometry
        return {
            "version": VERSION,
            "height": g.height,
            "width": g.width,
            "format": g.format,
            "flip": g.flip,
            "bins": self.data.k,
            "time_offset": self.data.spike_time_offset,
        }

    def key(self) -> str:
        """A short digest of `settings`."""
        return hashlib.sha256(json.dumps(self.settings(), sort_keys=True).encode()).hexdigest()[:12]

    def load(self, stem: str, crop: Crop) -> tuple[NDArray, NDArray[np.int64]] | None:
        """Counts (K,h,w) of a crop and frames per bin (K,), or None where they are absent or stale."""
        entry = self._sources.get(stem)
        if entry is None or entry["source"] != fingerprint(self.clip.spikes[stem]):
            return None
        try:
            counts = np.load(self.folder / f"{stem}.npy", mmap_mode="r")
        except (OSError, ValueError):
            return None
        top, left, h, w = crop
        return np.array(counts[:, top : top + h, left : left + w]), np.array(entry["bin_frames"])

    def build(self, progress: Callable[[str], None] = lambda stem: None) -> int:
        """Make what is absent or stale; returns how many files were made. An interrupted build goes on."""
        made = 0
        whole = (0, 0, self.geometry.height, self.geometry.width)
        for stem in self.clip.stems:
            if self.load(stem, whole) is None:
                self._store(stem)
                made += 1
            progress(stem)
        return made

    def _store(self, stem: str) -> None:
        path = self.clip.spikes[stem]
        source = fingerprint(path)
        counts, bin_frames = read_voxels(path, self.geometry, self.data, None)
        with replacing(self.folder / f"{stem}.npy") as temporary, temporary.open("wb") as file:
            np.save(file, counts)
        self._sources[stem] = {"source": source, "bin_frames": bin_frames.tolist()}
        with replacing(self.folder / META) as temporary:
            temporary.write_text(json.dumps({"settings": self.settings(), "files": self._sources}))

    def _read_sources(self) -> dict[str, dict]:
        try:
            return dict(json.loads((self.folder / META).read_text())["files"])
        except (OSError, ValueError, KeyError):
            return {}


def fingerprint(path: Path) -> list[int]:
    """Size and time of change of a file."""
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def read_voxels(
    path: Path, geometry: SpikeGeometry, data: DataConfig, crop: Crop | None
) -> tuple[NDArray, NDArray[np.int64]]:
    """Counts (K,h,w) and frames per bin (K,), straight from the recording."""
    recording = SpikeFile(path, geometry)
    window = recording.window(data.spike_time_offset)
    counts = recording.voxels(data.k, crop, data.spike_time_offset)
    return counts, frames_per_bin(window.stop - window.start, data.k)
