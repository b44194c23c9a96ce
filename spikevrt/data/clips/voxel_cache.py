"""The voxel cache: counts of whole frames inside the clip's folder, `<clip>/spike_vox/<key>/<stem>.npy`.

The key is a digest of all settings that affect the counts. For every file, `meta.json` holds size, modification time
and exposure of its recording, and a checksum of the counts; it ends with a checksum of its own. Counts are used only
where all of this fits, so a damaged cache is as good as none. Training works without the cache.
"""

import hashlib
import io
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

VERSION = 3
META = "meta.json"
SAVE_EVERY = 1.0
"""Seconds between two writes of `meta.json`; an interruption loses at most the entries of this time."""


class VoxelCache:
    """The cache of one clip for one configuration.

    Args:
        clip: folder of the clip, which also holds the cache.
        spikes: recordings of the clip.
        data: the DATA section.
    """

    def __init__(self, clip: Path, spikes: SpikeFolder, data: DataConfig) -> None:
        self.spikes = spikes
        self.data = data
        self.folder = clip / data.voxel_cache_dirname / self.key()
        self._entries = self._read_entries()
        self._verified: dict[str, list[int]] = {}

    def settings(self) -> dict[str, Any]:
        """All settings that affect the counts."""
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
        """Counts (K,h,w) of a crop and spike frames per bin (K,), from the cache or from the recording."""
        return self.load(stem, crop) or self.spikes.voxels(stem, self.data, crop)

    def load(self, stem: str, crop: Crop) -> tuple[NDArray, NDArray[np.int64]] | None:
        """Counts (K,h,w) of a crop and spike frames per bin (K,) from the cache; None if missing or outdated."""
        counts = self._valid(stem)
        if counts is None or not self._is_whole(stem, counts):
            return None
        top, left, h, w = crop
        return np.array(counts[:, top : top + h, left : left + w]), np.array(self._entries[stem]["bin_frames"])

    def build(self, progress: Callable[[str], None] = lambda stem: None, workers: int = 1) -> int:
        """Make the files that are missing, outdated or damaged on `workers` threads; returns their number.

        An interrupted build continues where it stopped.
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
        """Write the file of one frame unless a valid one exists; returns its entry for `meta.json`."""
        counts = self._valid(stem)
        if counts is not None and self._checksum_fits(stem, counts):
            return None
        source = self._source(stem)
        counts, bin_frames = self.spikes.voxels(stem, self.data)
        content = io.BytesIO()  # On a full disk, numpy.save into a file loses a small array without an error.
        np.save(content, counts)
        with replacing(self.folder / f"{stem}.npy") as temporary:
            temporary.write_bytes(content.getbuffer())
        return {"source": source, "bin_frames": bin_frames.tolist(), "crc32": zlib.crc32(counts.data)}

    def _valid(self, stem: str) -> NDArray | None:
        """The counts of a frame as a memory map, or None if the recording has changed or the shape is wrong."""
        entry = self._entries.get(stem)
        if entry is None or entry["source"] != self._source(stem):
            return None
        try:
            counts = np.load(self.folder / f"{stem}.npy", mmap_mode="r")
        # NumPy's reading of a damaged header raises nearly anything.
        except Exception:
            return None
        shape = (self.data.k, *self.spikes.size)
        right = counts.shape == shape and counts.dtype in (np.uint8, np.uint16) and counts.flags.c_contiguous
        return counts if right else None

    def _is_whole(self, stem: str, counts: NDArray) -> bool:
        """Whether the counts fit their checksum; they are read once for it, and again if their file has changed."""
        state = fingerprint(self.folder / f"{stem}.npy")
        if self._verified.get(stem) != state and self._checksum_fits(stem, counts):
            self._verified[stem] = state
        return self._verified.get(stem) == state

    def _checksum_fits(self, stem: str, counts: NDArray) -> bool:
        return zlib.crc32(counts.data) == self._entries[stem]["crc32"]

    def _source(self, stem: str) -> list[int]:
        """What identifies the source of the counts: size and modification time of the recording, and the exposure."""
        exposure = self.spikes.exposures.get(stem)
        return [*fingerprint(self.spikes.files[stem]), *((exposure.start, exposure.stop) if exposure else ())]

    def _save_entries(self) -> None:
        with replacing(self.folder / META) as temporary:
            state = {"settings": self.settings(), "files": self._entries, "crc32": checksum(self._entries)}
            temporary.write_text(json.dumps(state), encoding="utf-8")

    def _read_entries(self) -> dict[str, dict[str, Any]]:
        try:
            state = json.loads((self.folder / META).read_bytes())
            return state["files"] if checksum(state["files"]) == state["crc32"] else {}
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return {}


def checksum(entries: object) -> int:
    """Checksum of the entries of `meta.json`."""
    return zlib.crc32(json.dumps(entries, sort_keys=True).encode())


def fingerprint(path: Path) -> list[int]:
    """Size and modification time of a file.

    Raises:
        UserError: the file does not exist.
    """
    try:
        stat = path.stat()
    except OSError as error:
        raise UserError(f"{path}: no such spike file ({error.strerror})") from None
    return [stat.st_size, stat.st_mtime_ns]
