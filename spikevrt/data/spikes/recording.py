"""Reads and writes spike recordings.

n frames of H x W pixels; arrays are upright (row 0 on top), whatever the order in the file.
"""

import math
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spikevrt.data.files.atomic import write_array
from spikevrt.data.spikes.geometry import SpikeGeometry, fitting_geometries
from spikevrt.data.spikes.npz import array_reader, array_shape, is_array, read_array
from spikevrt.errors import UserError, shown
from spikevrt_kernels.voxelize import voxelize

Crop = tuple[int, int, int, int]
"""top, left, height, width in upright spike pixels."""
PAGE = 4096
"""Bytes of a part of a file."""
MOST_BYTES = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
"""Bytes of the largest exposure that is read at once."""


class SpikeFile:
    """One recording: a `.dat` file, of which only the needed rows are read, or an `.npz`.

    Args:
        path: path of the file.
        geometry: how its frames are stored; with `uint8` every byte is 0 or 1, as always in an `.npz`.
        exposure: spike frames of one RGB frame if the recording holds more; None = all.

    Raises:
        UserError: the file is missing or not a whole number of frames, or does not hold the exposure.
    """

    def __init__(self, path: Path, geometry: SpikeGeometry, exposure: slice | None = None) -> None:
        self.path = path
        self._is_array = is_array(path)
        self.geometry = replace(geometry, format="uint8") if self._is_array else geometry
        self._exposure = exposure
        if not path.is_file():
            raise UserError(f"{path}: no such spike file")
        self.frames = self._count_array() if self._is_array else self._count_frames()
        """Number of spike frames in the file (n)."""
        if exposure is not None and not 0 <= exposure.start < exposure.stop <= self.frames:
            raise UserError(
                f"{path}: {self.frames} spike frames, asked for {shown(exposure.start)} to {shown(exposure.stop)}; "
                "check windows.csv, the rates of DATA.RECORDING and DATA.SPIKE_TIME_OFFSET"
            )

    def read(self, crop: Crop | None = None, start: int = 0, count: int | None = None) -> NDArray[np.uint8]:
        """(n,h,w) uint8, 0 or 1: frames `start` .. `start + count` of the crop; without `count`, up to the last."""
        crop = self._checked_crop(crop)
        rows = self._rows(crop[0], crop[2])
        stop = self.frames if count is None else start + count
        return self._upright(self._load(slice(*slice(start, stop).indices(self.frames)[:2]), rows), rows, crop)

    @contextmanager
    def reader(self) -> Iterator[Callable[[slice], NDArray[np.uint8]]]:
        """A function that reads whole frames `start` .. `stop` as `read` does; an `.npz` stays open between calls."""
        if not self._is_array:
            yield lambda frames: self.read(start=frames.start, count=frames.stop - frames.start)
            return
        whole = self._checked_crop(None)
        with array_reader(self.path) as read:
            yield lambda frames: self._upright(read(frames), self._rows(0, whole[2]), whole)

    def voxels(self, bins: int, crop: Crop | None = None, time_offset: int = 0) -> NDArray:
        """Spike counts (K,h,w), uint8 or uint16, of the spike frames `exposure(time_offset)`.

        Raises:
            UserError: the exposure or the crop lies outside the recording, or counts are too large for `bins`.
        """
        geometry, exposure = self.geometry, self.exposure(time_offset)
        frames = exposure.stop - exposure.start
        if frames < bins:
            # The path is left out, so that Python shows the warning once and not for every file.
            warnings.warn(
                f"{frames} spike frames for {bins} bins leave {bins - frames} bins empty: DATA.K = {bins}, and a model "
                f"with DATA.K of at most {frames} fits",
                stacklevel=2,
            )
        (top, left, h, w), packed = self._checked_crop(crop), geometry.format == "packed"
        rows = self._rows(top, h)
        part = (self._from_top(top, rows), left, h, w)
        stored = self._load(exposure, rows)
        try:
            return voxelize(stored, len(rows), geometry.stored_width, bins, packed, geometry.flip, part, geometry.drop)
        except ValueError as error:
            if not packed and "above 1" in str(error):
                raise self._not_bytes() from None
            raise UserError(f"{self.path}: {error}; raise DATA.K, or give shorter exposures") from None

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
                    f"{self.path}: {self.frames} spike frames, DATA.SPIKE_TIME_OFFSET = {shown(time_offset)} moves an "
                    f"exposure to {shown(start)} .. {shown(stop)}; choose a smaller one"
                )
            return slice(start, stop)
        start, stop = max(time_offset, 0), self.frames + min(time_offset, 0)
        if start >= stop:
            raise UserError(
                f"{self.path}: {self.frames} spike frames, none left by DATA.SPIKE_TIME_OFFSET = "
                f"{shown(time_offset)}; choose a smaller one"
            )
        return slice(start, stop)

    def _count_frames(self) -> int:
        size, geometry = self.path.stat().st_size, self.geometry
        frames, rest = divmod(size, geometry.frame_bytes)
        if frames == 0 or (rest and not geometry.drop_rest):
            raise UserError(
                f"{self.path}: {size} bytes are not a whole number of {geometry} frames of {geometry.frame_bytes} "
                f"bytes ({rest} left over); check DATA.SPIKE_HEIGHT, DATA.SPIKE_WIDTH or config.yaml (packed ones that "
                f"would fit: {fitting_geometries(size)}), or leave the rest out by DATA.RECORDING.INCOMPLETE=drop"
            )
        if geometry.format == "uint8":
            # Every value in a dark crop may be 0, so a few pages of the file decide whether the bytes are packed.
            pages = read_chunks(self.path, [0, max(size // 2 - PAGE, 0), max(size - PAGE, 0)], min(PAGE, size))
            if pages.max() > 1:
                raise self._not_bytes()
        return frames

    def _count_array(self) -> int:
        geometry = self.geometry
        frames, height, width = array_shape(self.path)
        if (height, width) != (geometry.height, geometry.stored_width):
            raise UserError(
                f"{self.path}: holds {frames} frames of {height}x{width} uint8, not of {geometry}; set "
                f"DATA.SPIKE_HEIGHT={height} DATA.SPIKE_WIDTH={width}, or correct the config.yaml beside it"
            )
        return frames

    def _load(self, frames: slice, rows: range) -> NDArray[np.uint8]:
        """(n,bytes of the rows) as stored: the rows `rows`, counted from the start of a frame in the file."""
        geometry, count = self.geometry, frames.stop - frames.start
        if count * geometry.frame_bytes > MOST_BYTES:
            raise UserError(
                f"{self.path}: {count} spike frames of {geometry} as one exposure are more than half of the memory; "
                "give the recording's exposures in windows.csv or by DATA.RECORDING"
            )
        pixels = slice(rows.start * geometry.stored_width, rows.stop * geometry.stored_width)
        if self._is_array:
            return read_array(self.path, frames)[:, pixels]
        scale = 8 if geometry.format == "packed" else 1
        first, size = pixels.start // scale, (pixels.stop - pixels.start) // scale
        if size == geometry.frame_bytes:
            return read_chunks(self.path, [frames.start * size], count * size).reshape(count, size)
        return read_chunks(
            self.path, [t * geometry.frame_bytes + first for t in range(frames.start, frames.stop)], size
        )

    def _upright(self, stored: NDArray[np.uint8], rows: range, crop: Crop) -> NDArray[np.uint8]:
        """(n,h,w) of a crop from the bytes of the rows `rows` of the file."""
        (top, left, h, w), geometry = crop, self.geometry
        if geometry.format == "packed":
            stored = np.unpackbits(stored, axis=1, bitorder="little")
        frames = stored.reshape(len(stored), len(rows), geometry.stored_width)
        frames = frames[:, ::-1] if geometry.flip else frames
        first = self._from_top(top, rows)
        frames = np.ascontiguousarray(frames[:, first : first + h, geometry.drop[0] + left :][:, :, :w])
        if frames.size and int(frames.max()) > 1:
            raise self._not_bytes()
        return frames

    def _rows(self, top: int, h: int) -> range:
        """The rows in the file that hold the upright rows `top` .. `top + h`; they begin and end at whole bytes."""
        geometry = self.geometry
        first = geometry.height - top - h if geometry.flip else top
        step = 8 // math.gcd(8, geometry.stored_width) if geometry.format == "packed" else 1
        return range(first // step * step, min(-(-(first + h) // step) * step, geometry.height))

    def _from_top(self, top: int, rows: range) -> int:
        """Where the upright row `top` stands in the rows `rows` of the file, once they are upright."""
        return top - (self.geometry.height - rows.stop if self.geometry.flip else rows.start)

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


def read_chunks(path: Path, starts: Sequence[int], size: int) -> NDArray[np.uint8]:
    """(n,size) bytes of a file from each of the n places `starts`.

    It is read and not mapped: a file that becomes shorter or vanishes meanwhile is then an error and no crash.

    Raises:
        UserError: the file is gone, cannot be read, or has become shorter.
    """
    chunks = np.empty((len(starts), size), np.uint8)
    whole = True
    try:
        with path.open("rb") as file:
            for start, chunk in zip(starts, chunks, strict=True):
                file.seek(start)
                whole = whole and file.readinto(chunk.data) == size
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the file and the disk") from None
    if not whole:
        raise UserError(f"{path}: became shorter while it was read; start again when the file is complete")
    return chunks


def write_packed(path: Path, frames: NDArray[np.uint8], flip: bool = True) -> None:
    """Write (n,H,W) of 0 and 1, upright, with one bit per pixel, completely or not at all."""
    stored = frames[:, ::-1] if flip else frames
    packed = np.packbits(stored.reshape(len(frames), -1), axis=1, bitorder="little")
    write_array(path, packed)
