"""Reads and writes spike recordings.

n frames of H x W pixels; arrays are upright (row 0 on top), whatever the order in the file.
"""

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spikevrt.data.files.atomic import write_array
from spikevrt.data.spikes.geometry import SpikeGeometry, fitting_geometries
from spikevrt.data.spikes.npz import array_shape, read_array
from spikevrt.errors import UserError
from spikevrt_kernels.voxelize import voxelize

Crop = tuple[int, int, int, int]
"""top, left, height, width in upright spike pixels."""
RECORDING_SUFFIXES = (".dat", ".npz")


class SpikeFile:
    """One recording: a `.dat` file (a memory map, of which only the needed parts are loaded) or an `.npz`.

    Args:
        path: path of the file.
        geometry: how its frames are stored; with `uint8` every byte is 0 or 1.
        exposure: spike frames of one RGB frame if the recording holds more; None = all.

    Raises:
        UserError: the file is missing or not a whole number of frames, or does not hold the exposure.
    """

    def __init__(self, path: Path, geometry: SpikeGeometry, exposure: slice | None = None) -> None:
        self.path = path
        self.geometry = geometry
        self._exposure = exposure
        if not path.is_file():
            raise UserError(f"{path}: no such spike file")
        self._is_array = path.suffix.lower() == ".npz"
        self.frames = self._count_array() if self._is_array else self._count_frames()
        """Number of spike frames in the file (n)."""
        if exposure is not None and not 0 <= exposure.start < exposure.stop <= self.frames:
            raise UserError(
                f"{path}: {self.frames} spike frames, asked for {exposure.start} to {exposure.stop}; check "
                "windows.csv, the rates of DATA.RECORDING and DATA.SPIKE_TIME_OFFSET"
            )

    def read(self, crop: Crop | None = None, start: int = 0, count: int | None = None) -> NDArray[np.uint8]:
        """(n,h,w) uint8, 0 or 1: frames `start` .. `start + count` of the crop; without `count`, up to the last."""
        geometry = self.geometry
        top, left, h, w = self._checked_crop(crop)
        # Rows as stored: only those inside the crop are unpacked.
        first = geometry.height - top - h if geometry.flip else top
        stop = self.frames if count is None else start + count
        stored = self._load(slice(*slice(start, stop).indices(self.frames)[:2]))
        width = geometry.stored_width
        if geometry.format == "packed":
            low, high = first * width // 8, -(-(first + h) * width // 8)
            bits = np.unpackbits(stored[:, low:high], axis=1, bitorder="little")
            rows = bits[:, first * width - low * 8 :][:, : h * width].reshape(-1, h, width)
        else:
            rows = stored.reshape(-1, geometry.height, width)[:, first : first + h]
        rows = rows[:, ::-1] if geometry.flip else rows
        frames = np.ascontiguousarray(rows[:, :, geometry.drop[0] + left :][:, :, :w])
        if frames.size and int(frames.max()) > 1:
            raise self._not_bytes()
        return frames

    def voxels(self, bins: int, crop: Crop | None = None, time_offset: int = 0) -> NDArray:
        """Spike counts (K,h,w), uint8 or uint16, of the spike frames `exposure(time_offset)`.

        Raises:
            UserError: the exposure or the crop lies outside the recording, or counts are too large for `bins`.
        """
        geometry, exposure = self.geometry, self.exposure(time_offset)
        if exposure.stop - exposure.start < bins:
            # The path is left out, so that Python shows the warning once and not for every file.
            warnings.warn(
                f"{exposure.stop - exposure.start} spike frames for {bins} bins leave empty bins; lower DATA.K",
                stacklevel=2,
            )
        crop, packed = self._checked_crop(crop), geometry.format == "packed"
        size = (geometry.height, geometry.stored_width)
        try:
            return voxelize(self._load(exposure), *size, bins, packed, geometry.flip, crop, geometry.drop)
        except ValueError as error:
            if not packed and "above 1" in str(error):
                raise self._not_bytes() from None
            raise UserError(f"{self.path}: {error}; raise DATA.K") from None

    def exposure(self, time_offset: int) -> slice:
        """The spike frames of the exposure, moved by `time_offset`.

        If the whole file is one exposure, an offset removes frames: the first ones, or the last ones if it is negative.

        Raises:
            UserError: the recording does not hold the exposure, or no frame is left.
        """
        if self._exposure is not None:
            start, stop = self._exposure.start + time_offset, self._exposure.stop + time_offset
            if start < 0 or stop > self.frames:
                raise UserError(
                    f"{self.path}: {self.frames} spike frames, DATA.SPIKE_TIME_OFFSET = {time_offset} moves an "
                    f"exposure to {start} .. {stop}; choose a smaller one"
                )
            return slice(start, stop)
        start, stop = max(time_offset, 0), self.frames + min(time_offset, 0)
        if start >= stop:
            raise UserError(
                f"{self.path}: {self.frames} spike frames, none left by DATA.SPIKE_TIME_OFFSET = {time_offset}; "
                "choose a smaller one"
            )
        return slice(start, stop)

    def _count_frames(self) -> int:
        size, geometry = self.path.stat().st_size, self.geometry
        if size == 0 or size % geometry.frame_bytes:
            raise UserError(
                f"{self.path}: {size} bytes are not a whole number of {geometry} frames "
                f"of {geometry.frame_bytes} bytes ({size % geometry.frame_bytes} left over); the file is cut short or "
                f"the geometry wrong (packed ones that would fit: {fitting_geometries(size)})"
            )
        frames = size // geometry.frame_bytes
        self._stored = np.memmap(self.path, np.uint8, "r", shape=(frames, geometry.frame_bytes))
        if geometry.format == "uint8":
            # Every value in a dark crop may be 0, so a few pages of the file decide whether the bytes are packed.
            pages = self._stored.reshape(-1)
            if any(pages[at : at + 4096].max() > 1 for at in (0, size // 2, max(size - 4096, 0))):
                raise self._not_bytes()
        return frames

    def _count_array(self) -> int:
        geometry = self.geometry
        frames, height, width = array_shape(self.path)
        if (height, width) != (geometry.height, geometry.stored_width) or geometry.format != "uint8":
            raise UserError(
                f"{self.path}: holds {frames} frames of {height}x{width} uint8, not of {geometry}; "
                "set DATA.SPIKE_HEIGHT, DATA.SPIKE_WIDTH and DATA.SPIKE_FORMAT=uint8, or leave the size to the file"
            )
        return frames

    def _load(self, frames: slice) -> NDArray[np.uint8]:
        """(n,frame bytes) as stored: a view of the file, or frames of the array."""
        return read_array(self.path, frames) if self._is_array else self._stored[frames]

    def _checked_crop(self, crop: Crop | None) -> Crop:
        geometry = self.geometry
        top, left, h, w = crop or (0, 0, geometry.height, geometry.width)
        if min(top, left) < 0 or min(h, w) < 1 or top + h > geometry.height or left + w > geometry.width:
            raise UserError(f"{self.path}: the crop {(top, left, h, w)} lies outside frames of {geometry}")
        return top, left, h, w

    def _not_bytes(self) -> UserError:
        size = self.path.stat().st_size
        if self._is_array:
            return UserError(f"{self.path}: holds values above 1; spikes are 0 or 1")
        return UserError(
            f"{self.path}: {size} bytes, some above 1, so it looks bit-packed; set DATA.SPIKE_FORMAT=packed "
            f"(geometries that would fit: {fitting_geometries(size)})"
        )


def write_packed(path: Path, frames: NDArray[np.uint8], flip: bool = True) -> None:
    """Write (n,H,W) of 0 and 1, upright, with one bit per pixel, completely or not at all."""
    stored = frames[:, ::-1] if flip else frames
    packed = np.packbits(stored.reshape(len(frames), -1), axis=1, bitorder="little")
    write_array(path, packed)
