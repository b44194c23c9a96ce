"""Reads frames from a video file or a folder of pictures, as a player would show them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TypeVar

from spikevrt.data.files.images import PICTURE_SUFFIXES, picture_files, read_image
from spikevrt.data.files.video_decoding import (
    Frame,
    decoded,
    display_matrix,
    opened_video,
    start_of,
    time_stamps,
    to_rgb,
)
from spikevrt.errors import UserError, warn

Item = TypeVar("Item")
DEFAULT_RATE = Fraction(24)
UNEVEN = Fraction(1, 4)
"""Frames are unevenly spaced if a step in time differs from the median step by more than this share of it."""


@dataclass(frozen=True)
class Timing:
    """How many frames a source has, and when they are shown."""

    count: int
    rate: Fraction
    """Frames per second; 24 for a folder of pictures. Of unevenly spaced frames: by their median step."""
    times: tuple[Fraction, ...] = ()
    """Increasing seconds since picture or sound starts; empty for pictures, and for a video without time stamps."""
    tick: Fraction = Fraction(0)
    """Seconds by which a time may be off, because the file rounds it."""

    @property
    def even(self) -> bool:
        """Whether the frames follow each other at about the same pace."""
        usual, slack = 1 / self.rate, UNEVEN / self.rate + 2 * self.tick
        return all(abs(b - a - usual) <= slack for a, b in pairwise(self.times))

    def of(self, part: range | None) -> "Timing":
        """The timing of successive frames alone, from the first of them on; None = of all."""
        if part is None:
            return self
        times = self.times[part.start : part.stop]
        # What starts with the source keeps its start, which need not be 0.
        start = times[0] if times and part.start else Fraction(0)
        return replace(self, count=len(part), times=tuple(time - start for time in times))


def read_frames(path: Path) -> Iterator[Frame]:
    """Iterate over the RGB frames (H,W,3) of a video file or of a folder of pictures, in order and upright.

    The colour matrix and range are those that the file names; HD video that names none is taken as BT.709.

    Raises:
        UserError: the path does not exist, holds no frames, or cannot be decoded.
    """
    files = pictures_of(path)
    if files is None:
        yield from (to_rgb(frame, path) for frame in decoded(path))
        return
    if not files:
        raise UserError(
            f"{path}: holds no pictures ({', '.join(PICTURE_SUFFIXES)}); name a video or a folder of frames"
        )
    yield from map(read_image, files)


def pictures_of(path: Path) -> list[Path] | None:
    """The pictures of a folder, or a single picture; None for a video."""
    if path.is_dir():
        return picture_files(path)
    return [path] if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file() else None


def frame_names(path: Path) -> list[str] | None:
    """Stems of the pictures of a folder; None for a video."""
    files = pictures_of(path)
    return None if files is None else [file.stem for file in files]


def count_frames(path: Path) -> int:
    """Number of frames of a video, or of pictures of a folder; see `frame_times`.

    Who counts frames takes them as evenly spaced; a warning says if they are not.
    """
    timing = frame_times(path)
    if not timing.even:
        steps = [float(b - a) for a, b in pairwise(timing.times)]
        warn(path, f"its frames are {min(steps):.3g} to {max(steps):.3g} s apart; they are taken as evenly spaced")
    return timing.count


def frame_times(path: Path) -> Timing:
    """The times of a source's frames; a video is decoded for it only where its packets do not tell."""
    names = frame_names(path)
    if names is not None:
        return Timing(len(names), DEFAULT_RATE)
    with opened_video(path) as (container, stream):
        stated = stream.average_rate or stream.guessed_rate or DEFAULT_RATE
        start, tick = start_of(container), Fraction(stream.time_base.numerator, stream.time_base.denominator)
    rate = Fraction(stated.numerator, stated.denominator)
    stamps = time_stamps(path)
    known = [stamp for stamp in stamps if stamp is not None]
    if len(known) < len(stamps):
        warn(path, f"has frames without time stamps; they are taken as evenly spaced, {float(rate):.5g} a second")
        return Timing(len(stamps), rate)
    times = [stamp * tick - start for stamp in known]
    steps = [b - a for a, b in pairwise(times)]
    if not steps or min(steps) <= 0:
        if steps:
            warn(path, f"has time stamps that do not increase; frames are taken as even, {float(rate):.5g} a second")
        return Timing(len(times), rate)
    typical = Fraction(median(steps))
    # The stated rate is the exact one, unless it is the mean of uneven steps.
    if abs(1 / rate - typical) > tick + typical / 100:
        rate = 1 / typical
    return Timing(len(times), rate, tuple(times), tick)


def pixel_aspect(path: Path) -> Fraction:
    """Width of a pixel of the upright frames, in heights; 1 for a folder of pictures and where a video says nothing."""
    if pictures_of(path) is not None:
        return Fraction(1)
    with opened_video(path) as (_, stream):
        stated = stream.sample_aspect_ratio
    if not stated or stated.numerator <= 0:
        return Fraction(1)
    aspect = Fraction(stated.numerator, stated.denominator)
    first = next(decoded(path), None)
    return 1 / aspect if first is not None and display_matrix(first, path)[0][0] == 0 else aspect


def warn_of_pixel_aspect(path: Path) -> None:
    """Warn if a video's pixels are not square, where its frames are written as pictures."""
    aspect = pixel_aspect(path)
    if aspect != 1:
        warn(
            path, f"its pixels are {aspect.numerator}:{aspect.denominator}, not square; pictures hold them unstretched"
        )


def exactly(items: Iterable[Item], count: int, path: Path) -> Iterator[Item]:
    """Pass the frames of `path` on; raises a `UserError` unless there are `count`, as when it was read first."""
    found = 0
    for found, item in enumerate(items, 1):
        if found > count:
            break
        yield item
    if found != count:
        remedy = "leave it alone meanwhile; if it is damaged, fetch it again"
        raise UserError(f"{path}: had {count} frames when it was read first, and not now; {remedy}")


def chosen(count: int, first: int | None, last: int | None) -> range:
    """Numbers from 0 of the frames `first` to `last`, which people count from 1.

    Raises:
        UserError: the clip of `count` frames has no such part.
    """
    first, last = first or 1, last or count
    if first > count or last > count:
        option, value = ("--start", first) if first > count else ("--end", last)
        raise UserError(f"{option} {value}: the clip has {count} frames; give at most {count}")
    if last < first:
        raise UserError(f"--end {last}: lies before --start {first}")
    return range(first - 1, last)


def of_one_size(frames: Iterable[Frame]) -> Iterator[Frame]:
    """Pass frames (H,W,3) on; raises a `UserError` for a frame whose size differs from the first one's."""
    first: tuple[int, ...] | None = None
    for index, frame in enumerate(frames):
        first = first or frame.shape
        if frame.shape != first:
            raise UserError(
                f"frame {index} is {frame.shape[:2]}, the first one {first[:2]}: one size is needed, resize them"
            )
        yield frame
