"""The voxel cache: counts of whole frames beside a clip, `<clip>/spike_vox/<key>/<stem>.npy`.

The key is a digest of all that shapes the counts; each file's source is remembered by size, time of change and
exposure, and its counts by a checksum. Training needs no cache.
"""

import hashlib
import json
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikevrt.config import DataConfig
from spikevrt.data.files.atomic import replacing
from spikevrt.data.spikes.folder import SpikeFolder
from spikevrt.data.spikes.recording import Crop
from spikevrt.errors import UserError

VERSION = 2
META = "meta.json"
SAVE_EVERY = 1.0
"""Seconds between two writes of `meta.json`: what an interruption can cost."""


class VoxelCache:
    """The cache of one clip for one configuration.

    Args:
        clip: its folder, where the cache stands.
        spikes: its spikes.
        data: the section of the configuration.
    """

    def __init__(self, clip: Path, spikes: SpikeFolder, data: DataConfig) -> None:
        self.spikes = spikes
        self.data = data
        self.folder = clip / data.voxel_cache_dirname / self.key()
        self._entries = self._read_entries()

    def settings(self) -> dict[str, Any]:
        """All that shapes the counts of every frame."""
        g = self.spikes.geometry
        return {
            "version": VERSION,
            "height": g.height,
            "width": g.width,
            "format": g.format,
            "flip": g.flip,
            "drop": list(g.drop),
            "spikes": self.data.spike_dir,
            "bins": self.data.k,
            "time_offset": self.data.spike_time_offset,
        }

    def key(self) -> str:
        """A short digest of `settings`."""
        return hashlib.sha256(json.dumps(self.settings(), sort_keys=True).encode()).hexdigest()[:12]

    def voxels(self, stem: str, crop: Crop) -> tuple[NDArray, NDArray[np.int64]]:
        """Counts (K,h,w) of a crop and frames per bin (K,): cached ones, or straight from the recording."""
        return self.load(stem, crop) or self.spikes.voxels(stem, self.data, crop)

    def load(self, stem: str, crop: Crop) -> tuple[NDArray, NDArray[np.int64]] | None:
        """Counts (K,h,w) of a crop and frames per bin (K,), or None where they are absent or stale."""
        counts = self._valid(stem)
        if counts is None:
            return None
        top, left, h, w = crop
        return np.array(counts[:, top : top + h, left : left + w]), np.array(self._entries[stem]["bin_frames"])

    def build(self, progress: Callable[[str], None] = lambda stem: None, workers: int = 1) -> int:
        """Make what is absent, stale or damaged, on `workers` threads; returns how many files were made.

        An interrupted build goes on where it stopped.
        """
        made, saved = 0, time.monotonic()
        pool = ThreadPoolExecutor(workers)
        try:
            for stem, entry in zip(self.spikes.files, pool.map(self._make, self.spikes.files), strict=True):
                if entry is not None:
                    self._entries[stem] = entry
                    made += 1
                if made and time.monotonic() - saved > SAVE_EVERY:
                    self._save_entries()
                    saved = time.monotonic()
                progress(stem)
        finally:
            pool.shutdown(cancel_futures=True)
            if made:
                self._save_entries()
        return made

    def _make(self, stem: str) -> dict[str, Any] | None:
        """Write one file, unless a whole one is there; returns its entry."""
        counts = self._valid(stem)
        if counts is not None and zlib.crc32(counts.data) == self._entries[stem]["crc32"]:
            return None
        source = self._source(stem)
        counts, bin_frames = self.spikes.voxels(stem, self.data)
        with replacing(self.folder / f"{stem}.npy") as temporary, temporary.open("wb") as file:
            np.save(file, counts)
        return {"source": source, "bin_frames": bin_frames.tolist(), "crc32": zlib.crc32(counts.data)}

    def _valid(self, stem: str) -> NDArray | None:
        """The counts of a frame as a memory map, where its source has not changed and the shape is right."""
        entry = self._entries.get(stem)
        if entry is None or entry["source"] != self._source(stem):
            return None
        try:
            counts = np.load(self.folder / f"{stem}.npy", mmap_mode="r")
        except (OSError, ValueError, EOFError, SyntaxError):
            return None
        shape = (self.data.k, *self.spikes.size)
        right = counts.shape == shape and counts.dtype in (np.uint8, np.uint16) and counts.flags.c_contiguous
        return counts if right else None

    def _source(self, stem: str) -> list[int]:
        """What the counts were made from: size and time of change of the recording, and the exposure inside it."""
        exposure = self.spikes.exposures.get(stem)
        return [*fingerprint(self.spikes.files[stem]), *((exposure.start, exposure.stop) if exposure else ())]

    def _save_entries(self) -> None:
        with replacing(self.folder / META) as temporary:
            temporary.write_text(json.dumps({"settings": self.settings(), "files": self._entries}))

    def _read_entries(self) -> dict[str, dict[str, Any]]:
        try:
            entries = dict(json.loads((self.folder / META).read_text())["files"])
        except (OSError, ValueError, KeyError, TypeError):
            return {}
        keys = {"source", "bin_frames", "crc32"}
        return {stem: entry for stem, entry in entries.items() if isinstance(entry, dict) and keys <= entry.keys()}


def fingerprint(path: Path) -> list[int]:
    """Size and time of change of a file.

    Raises:
        UserError: it is gone.
    """
    try:
        stat = path.stat()
    except OSError as error:
        raise UserError(f"{path}: no such spike file ({error.strerror})") from None
    return [stat.st_size, stat.st_mtime_ns]
