"""Ranks the geometries that fit a file by how much its frames look like one picture.

A is the mean of the even frames, B the mean of the odd ones: both show the scene, and their noise is independent. The
score is the minimum over both axes of cov(A at a pixel, B at its neighbour) / variance. It is near 1 for a smooth
picture in any light. A wrong width shifts rows against each other, so vertical neighbours no longer agree; a wrong
frame size mixes pixels of different places. A vertical flip does not change the score.

Many sizes fit one file. Most are ruled out on a part of the frame, whose correlation at all distances takes a single
Fourier transform; only the best are scored on whole frames.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spikevrt.data.files.similarity import correlation
from spikevrt.data.spikes.geometry import KNOWN, SpikeGeometry
from spikevrt.data.spikes.npz import array_shape, is_array, read_array
from spikevrt.data.spikes.recording import read_chunks
from spikevrt.errors import UserError
from spikevrt_kernels.voxelize import voxelize

SIDE_RANGE = (32, 1280)
LARGEST_ASPECT = 3.0
"""Largest ratio of the longer to the shorter side."""
SAMPLED_FRAMES = 128
"""Frames that are scored; they are taken from the middle of the file."""
PART_PIXELS = 1 << 17
"""Pixels of the part of a frame on which candidates are compared first."""
CHECKED_SIZES = 30
"""Number of best candidates that are scored on whole frames and searched for a scene shown twice."""
REPEAT_CORRELATION = 0.8
"""Two parts of a mean picture with at least this correlation show the same scene."""
PAGE_BYTES = 1 << 16
Halves = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Mean of the even frames and mean of the odd frames."""


@dataclass(frozen=True)
class Candidate:
    """One geometry, the number of frames it gives, and its score (1 = a picture, 0 = noise)."""

    geometry: SpikeGeometry
    frames: int
    score: float
    shows_a_scene_twice: bool = False
    """Whether one of its frames seems to hold two or more real ones; such candidates are ranked last."""

    @property
    def is_known(self) -> bool:
        """Whether a common camera or data set has this size."""
        return (self.geometry.height, self.geometry.width) in KNOWN


def rank(path: Path, height: int | None = None, width: int | None = None, format: str | None = None) -> list[Candidate]:
    """The most likely geometries of `path` that agree with the given values, best first. Their flip is `False`.

    Raises:
        UserError: the file is missing or empty, or no geometry fits.
    """
    if not path.is_file():
        what = "is a folder; name a recording in it" if path.is_dir() else "no such spike file"
        raise UserError(f"{path}: {what}")
    if is_array(path):
        frames, h, w = array_shape(path)
        if (height or h, width or w, format or "uint8") != (h, w, "uint8"):
            raise UserError(f"{path}: holds {frames} frames of {h}x{w} uint8; leave --height, --width and --format out")
        return [Candidate(SpikeGeometry(h, w, "uint8", False), frames, 1.0)]
    size = path.stat().st_size
    if size == 0:
        raise UserError(f"{path}: 0 bytes; fetch it again")
    kind = format or format_of(path)
    pixels = size * 8 if kind == "packed" else size
    fitting = list(sizes(pixels, height, width, kind))
    found = [candidate(path, size, kind, pixels) for size in best_of(path, fitting, kind)]
    if not found:
        given = f" with {height or 'any'} x {width or 'any'}" if height or width else ""
        raise UserError(
            f"{path}: no geometry{given} divides its {size} bytes into whole frames; the file is cut short, or has a "
            "head (DATA.RECORDING.INCOMPLETE=drop lets the other commands leave out an end)"
        )
    found.sort(key=lambda c: (c.shows_a_scene_twice, -round(c.score, 2), not c.is_known))
    return found


def candidate(path: Path, size: tuple[int, int], format: str, pixels: int) -> Candidate:
    """Score one geometry on whole frames."""
    h, w = size
    even, odd = mean_frames(path, h * w, format, slice(0, h * w))
    twice = shows_a_scene_twice((even + odd).reshape(h, w))
    return Candidate(SpikeGeometry(h, w, format, False), pixels // (h * w), score((even, odd), size), twice)


def best_of(path: Path, fitting: list[tuple[int, int]], format: str) -> list[tuple[int, int]]:
    """The `CHECKED_SIZES` sizes with the best score on a part of the frame; all sizes if there are fewer."""
    if len(fitting) <= CHECKED_SIZES:
        return fitting
    agreement: dict[tuple[int, int], float] = {}
    for area in sorted({h * w for h, w in fitting}):
        start = max(0, (area - PART_PIXELS) // 2) // 8 * 8
        halves = mean_frames(path, area, format, slice(start, min(area, start + PART_PIXELS)))
        at = correlation_at(halves)
        agreement |= {(h, w): min(at[1], at[w]) for h, w in fitting if h * w == area and w < len(at)}
    return sorted(agreement, key=lambda size: -agreement[size])[:CHECKED_SIZES]


def correlation_at(halves: Halves) -> NDArray[np.float64]:
    """(n,) covariance of even[i] and odd[i + distance] divided by the variance, at all distances, by an FFT."""
    even, odd = (half - half.mean() for half in halves)
    n = len(even)
    variance = float((((even + odd) / 2) ** 2).mean())
    length = 1 << (2 * n - 1).bit_length()
    spectrum = np.conj(np.fft.rfft(even, length)) * np.fft.rfft(odd, length)
    pairs = n - np.arange(n)
    return np.fft.irfft(spectrum, length)[:n] / pairs / (variance or 1.0)


def format_of(path: Path) -> str:
    """`uint8` if every sampled byte is 0 or 1 and at least one is 1, else `packed`."""
    size = path.stat().st_size
    places = np.linspace(0, max(size - PAGE_BYTES, 0), 16, dtype=np.int64)
    most = int(read_chunks(path, places.tolist(), min(PAGE_BYTES, size)).max())
    return "uint8" if most == 1 else "packed"


def sizes(pixels: int, height: int | None, width: int | None, format: str) -> Iterator[tuple[int, int]]:
    """All (H,W) that divide a file of `pixels` pixels into at least two frames of whole bytes."""
    low, high = (1, pixels) if height and width else SIDE_RANGE
    for h in [height] if height else range(low, min(high, pixels) + 1):
        if pixels % h:
            continue
        for w in [width] if width else range(max(low, int(h / LARGEST_ASPECT)), min(high, int(h * LARGEST_ASPECT)) + 1):
            whole = format == "uint8" or h * w % 8 == 0
            if pixels // h % w == 0 and whole and (pixels // (h * w) > 1 or (height and width)):
                yield h, w


def mean_frames(path: Path, pixels: int, format: str, part: slice) -> Halves:
    """Means of the even and the odd of up to `SAMPLED_FRAMES` in the middle of the file, in `part` of a frame."""
    scale = 8 if format == "packed" else 1
    frame_bytes, first, size = pixels // scale, part.start // scale, (part.stop - part.start) // scale
    count = path.stat().st_size // frame_bytes
    start = max(0, (count - SAMPLED_FRAMES) // 2)
    sampled = range(start, min(start + SAMPLED_FRAMES, count))
    frames = read_chunks(path, [t * frame_bytes + first for t in sampled], size)
    try:
        even, odd = (
            voxelize(half, 1, part.stop - part.start, 1, format == "packed", False).reshape(-1).astype(np.float32)
            / len(half)
            for half in (frames[::2], frames[1::2] if len(frames) > 1 else frames)
        )
    except ValueError as error:
        raise UserError(f"{path}: {error}; it looks bit-packed, leave --format out") from None
    return even.astype(np.float32), odd.astype(np.float32)


def score(halves: Halves, size: tuple[int, int]) -> float:
    """Correlation of neighbouring pixels without the noise, the smaller of both axes; 0 for a constant picture."""
    even, odd = ((half - half.mean()).reshape(size) for half in halves)
    variance = float((((even + odd) / 2) ** 2).mean())
    if variance <= 0 or min(size) < 2:
        return 0.0
    beside = float((even[:, 1:] * odd[:, :-1]).mean())
    below = float((even[1:] * odd[:-1]).mean())
    return min(beside, below) / variance


def shows_a_scene_twice(picture: NDArray[np.float32]) -> bool:
    """Whether a picture shows the same scene two or more times, one above the other."""
    height = len(picture)
    for parts in range(2, height // SIDE_RANGE[0] + 1):
        if height % parts == 0:
            first, second = picture[: height // parts], picture[height // parts : 2 * (height // parts)]
            if correlation(first, second) > REPEAT_CORRELATION:
                return True
    return False


def read_frames(path: Path, geometry: SpikeGeometry, frames: slice) -> NDArray[np.uint8]:
    """The stored frames (n,frame bytes)."""
    if is_array(path):
        return read_array(path, frames)
    starts = range(frames.start * geometry.frame_bytes, frames.stop * geometry.frame_bytes, geometry.frame_bytes)
    return read_chunks(path, starts, geometry.frame_bytes)
