"""Reading and writing spike recordings.

n frames of H x W pixels; arrays are upright (row 0 on top) whatever the file holds.
"""

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spikevrt.data.atomic import replacing
from spikevrt.data.spike_geometry import SpikeGeometry, fitting_geometries
from spikevrt.errors import UserError
from spikevrt_kernels.voxelize import unpack_frames, voxelize

Crop = tuple[int, int, int, int]
"""top, left, height, width in upright spike pixels."""


class SpikeFile:
    """One `.dat` file, read through a memory map: only what a crop and a window touch is loaded.

    Raises:
        UserError: no such file, or a size that is not a whole number of frames.
    """

    def __init__(self, path: Path, geometry: SpikeGeometry) -> None:
        self.path, self.geometry = path, geometry
        if not path.is_file():
            raise UserError(f"{path}: no such spike file")
        size = path.stat().st_size
        if size == 0 or size % geometry.frame_bytes:
            raise UserError(
                f"{path}: {size} bytes are not a whole number of {geometry} frames of {geometry.frame_bytes} bytes "
                f"({size % geometry.frame_bytes} left over); the file is cut short or the geometry wrong "
                f"(packed ones that would fit: {fitting_geometries(size)})"
            )
        self.frames = size // geometry.frame_bytes
        """n"""
        self._stored = np.memmap(path, np.uint8, "r", shape=(self.frames, geometry.frame_bytes))

    def read(self, crop: Crop | None = None, start: int = 0, count: int | None = None) -> NDArray[np.uint8]:
        """(n,h,w) of 0 and 1: frames `start` .. `start + count` of the crop."""
        geometry = self.geometry
        top, left, h, w = crop or (0, 0, geometry.height, geometry.width)
        stored = self._checked(self._stored[start : None if count is None else start + count])
        if geometry.format == "packed":
            frames = unpack_frames(stored, geometry.height, geometry.width, geometry.flip)
        else:
            frames = stored.reshape(-1, geometry.height, geometry.width)
            frames = frames[:, ::-1] if geometry.flip else frames
        return np.ascontiguousarray(frames[:, top : top + h, left : left + w])

    def voxels(self, bins: int, crop: Crop | None = None, time_offset: int = 0) -> NDArray:
        """(K,h,w) counts of the frames that `time_offset` leaves; see `window`."""
        geometry = self.geometry
        window = self.window(time_offset)
        if window.stop - window.start < bins:
            warnings.warn(
                f"{self.path}: {window.stop - window.start} spike frames for {bins} bins (DATA.K) leave empty bins",
                stacklevel=2,
            )
        stored = self._checked(self._stored[window])
        packed = geometry.format == "packed"
        return voxelize(stored, geometry.height, geometry.width, bins, packed, geometry.flip, crop)

    def window(self, time_offset: int) -> slice:
        """The frames of the exposure: without the first `time_offset`, or the last where it is negative."""
        start, stop = max(time_offset, 0), self.frames + min(time_offset, 0)
        if start >= stop:
            raise UserError(
                f"{self.path}: {self.frames} spike frames, none left by DATA.SPIKE_TIME_OFFSET = {time_offset}"
            )
        return slice(start, stop)

    def _checked(self, stored: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self.geometry.format == "uint8" and stored.size and int(stored.max()) > 1:
            size = self.path.stat().st_size
            raise UserError(
                f"{self.path}: holds values above 1, so it looks bit-packed; set DATA.SPIKE_FORMAT=packed "
                f"(geometries that would fit: {fitting_geometries(size)})"
            )
        return stored


def write_packed(path: Path, frames: NDArray[np.uint8], flip: bool = True) -> None:
    """Write (n,H,W) of 0 and 1, upright, as one bit a pixel; atomic."""
    stored = frames[:, ::-1] if flip else frames
    packed = np.packbits(stored.reshape(len(frames), -1), axis=1, bitorder="little")
    with replacing(path) as temporary:
        packed.tofile(temporary)
