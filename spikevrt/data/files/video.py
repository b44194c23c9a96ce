"""Reads frames from a video file or a folder of pictures, as a player would show them."""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from spikevrt.data.files.images import picture_files, read_image
from spikevrt.errors import UserError

Frame = NDArray[np.uint8]
Item = TypeVar("Item")
DEFAULT_RATE = Fraction(24)
UNEVEN = Fraction(1, 4)
"""Frames are unevenly spaced if a step in time differs from the median step by more than this share of it."""
UNTAGGED = 2
"""FFmpeg's number for colours that a file says nothing about."""
TIMED = ("video", "audio", "subtitle")
"""Kinds of streams whose packets show how far a file reaches."""
STATING_DURATION = ("mov", "matroska", "avi", "flv", "asf")
"""Containers that say how long they last; of others, FFmpeg guesses it from what is there."""
HDR = {16: "PQ", 18: "HLG"}
"""FFmpeg's numbers of the transfer functions of HDR video."""


def require_av() -> ModuleType:
    """Import PyAV, or raise one line that says how to install it."""
    try:
        import av
    except ImportError:
        raise UserError("video files need PyAV: pip install av") from None
    return av


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


def read_frames(path: Path) -> Iterator[Frame]:
    """Iterate over the RGB frames (H,W,3) of a video file or of a folder of pictures, in order and upright.

    The colour matrix and range are those that the file names; HD video that names none is taken as BT.709.

    Raises:
        UserError: the path does not exist, holds no frames, or cannot be decoded.
    """
    if not path.is_dir():
        yield from (to_rgb(frame, path) for frame in decoded(path))
        return
    files = picture_files(path)
    if not files:
        raise UserError(f"{path}: holds no pictures; name a video file or a folder of frames")
    yield from map(read_image, files)


def frame_names(path: Path) -> list[str] | None:
    """Stems of the pictures of a folder; None for a video."""
    return [p.stem for p in picture_files(path)] if path.is_dir() else None


def count_frames(path: Path) -> int:
    """Number of frames of a video, or of pictures of a folder; a video is decoded, as files often do not say.

    Who counts frames takes them as evenly spaced; a warning says if they are not.
    """
    timing = frame_times(path)
    if not timing.even:
        steps = [float(b - a) for a, b in pairwise(timing.times)]
        warn(path, f"its frames are {min(steps):.3g} to {max(steps):.3g} s apart; they are taken as evenly spaced")
    return timing.count


def frame_times(path: Path) -> Timing:
    """The times of a source's frames; a video is decoded for it, but no frame is converted to RGB."""
    names = frame_names(path)
    if names is not None:
        return Timing(len(names), DEFAULT_RATE)
    with opened_video(path) as (container, stream):
        stated = stream.average_rate or stream.guessed_rate or DEFAULT_RATE
        start = start_of(container)
    rate = Fraction(stated.numerator, stated.denominator)
    stamps = [(frame.pts, frame.time_base) for frame in decoded(path)]
    if any(pts is None or not base for pts, base in stamps):
        warn(path, f"has frames without time stamps; they are taken as evenly spaced, {float(rate):.5g} a second")
        return Timing(len(stamps), rate)
    times = [pts * Fraction(base.numerator, base.denominator) - start for pts, base in stamps]
    steps = [b - a for a, b in pairwise(times)]
    if not steps or min(steps) <= 0:
        if steps:
            warn(path, f"has time stamps that do not increase; frames are taken as even, {float(rate):.5g} a second")
        return Timing(len(times), rate)
    tick = Fraction(stamps[0][1].numerator, stamps[0][1].denominator)
    typical = Fraction(median(steps))
    # The stated rate is the exact one, unless it is the mean of uneven steps.
    if abs(1 / rate - typical) > tick + typical / 100:
        rate = 1 / typical
    return Timing(len(times), rate, tuple(times), tick)


def pixel_aspect(path: Path) -> Fraction:
    """Width of a pixel of the upright frames, in heights; 1 for a folder of pictures and where a video says nothing."""
    if path.is_dir():
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
        raise UserError(f"{path}: had {count} frames when it was read first, and not now; leave it alone meanwhile")


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


@contextmanager
def opened_video(path: Path) -> Iterator[tuple[Any, Any]]:
    """PyAV's container and the video stream that a player would show.

    Raises:
        UserError: the path does not exist, holds no video stream, or cannot be decoded.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such video or folder; check the path")
    av = require_av()
    try:
        with open_container(path) as container:
            yield container, shown_stream(container, path)
    except av.error.FFmpegError as error:
        raise UserError(f"{path}: cannot be decoded as video ({error.strerror}); fetch or convert it again") from None


def open_container(path: Path) -> Any:
    """PyAV's container of a file whose titles may be in any encoding."""
    av = require_av()
    try:
        return av.open(str(path))
    except UnicodeDecodeError:
        return av.open(str(path), metadata_encoding="latin-1")


def start_of(container: Any) -> Fraction:
    """Seconds at which picture or sound starts; 0 where that is earlier, as encoded sound has a silent lead."""
    return Fraction(max(0, container.start_time or 0), 1_000_000)


def shown_stream(container: Any, path: Path) -> Any:
    """The first video stream, or the default one, that is not a cover picture."""
    flags = require_av().stream.Disposition
    films = [s for s in container.streams.video if not s.disposition & (flags.attached_pic | flags.timed_thumbnails)]
    if not films:
        raise UserError(f"{path}: holds no video stream; name a video file or a folder of frames")
    chosen = next((stream for stream in films if stream.disposition & flags.default), films[0])
    if len(films) > 1:
        warn(path, f"holds {len(films)} video streams; stream {chosen.index} is read")
    return chosen


def decoded(path: Path) -> Iterator[Any]:
    """PyAV's frames of a video; warns where the file is damaged, or ends before it says that it does."""
    with opened_video(path) as (container, stream):
        count = 0
        ends = dict.fromkeys((s.index for s in container.streams), 0.0)
        for packet in container.demux([s for s in container.streams if s.type in TIMED]):
            if packet.pts is not None and packet.size:
                end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                ends[packet.stream_index] = max(ends[packet.stream_index], end)
            for frame in packet.decode() if packet.stream_index == stream.index else ():
                count += 1
                if frame.is_corrupt or packet.is_corrupt:
                    warn(path, "is damaged: some frames are only guessed by the decoder; fetch or convert it again")
                yield frame
        if count and container.format.name.startswith(STATING_DURATION):
            spans = [(max(ends.values()) - (container.start_time or 0) / 1e6, (container.duration or 0) / 1e6)]
            if stream.duration:
                found = ends[stream.index] - float((stream.start_time or 0) * stream.time_base)
                spans.append((found, float(stream.duration * stream.time_base)))
            for found, said in spans:
                if found < said - max(0.05, 1.5 * found / count):
                    warn(path, f"ends after {found:.2f} of {said:.2f} s, it is not whole: fetch it again")
                    break


def to_rgb(frame: Any, path: Path) -> Frame:
    """One decoded frame as RGB (H,W,3), upright; warns of what RGB of 8 bits does not show."""
    if frame.color_trc in HDR:
        warn(path, f"is HDR ({HDR[frame.color_trc]}), which is read without tone mapping: expect flat colours")
    if frame.interlaced_frame:
        warn(path, "is interlaced; its fields are not separated: deinterlace it first for sharp motion")
    if any(component.is_alpha for component in frame.format.components):
        warn(path, "has an alpha channel, which is not used: colours are read as if opaque")
    untagged = frame.colorspace == UNTAGGED and not frame.format.is_rgb
    matrix = untagged_matrix(frame.height, frame.width) if untagged else None
    stored = frame.to_ndarray(format="rgb24", src_colorspace=matrix)
    (a, b), (c, d) = display_matrix(frame, path)
    if a == 0:
        stored, a, d = stored.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(stored[:: d or 1, :: a or 1])


def untagged_matrix(height: int, width: int) -> int:
    """PyAV's number of the colour matrix that players assume where a file names none: BT.709 for HD, else BT.601."""
    known = require_av().video.reformatter.Colorspace
    return known.ITU709 if width >= 1280 or height > 576 else known.ITU601


def display_matrix(frame: Any, path: Path) -> tuple[tuple[int, int], tuple[int, int]]:
    """The turns by 90 degrees and mirrorings that show a frame upright, as a matrix of -1, 0 and 1.

    A stored pixel (x,y) is shown at (a x + c y, b x + d y); ((a, b), (c, d)) is returned.
    """
    kind = require_av().sidedata.sidedata.Type.DISPLAYMATRIX
    data = frame.side_data.get(kind)
    if data is None:
        return (1, 0), (0, 1)
    values = np.frombuffer(bytes(data), np.int32)
    a, b, c, d = (int(np.sign(values[i])) for i in (0, 1, 3, 4))
    if abs(a) != abs(d) or abs(b) != abs(c) or abs(a) == abs(b):
        warn(path, "is to be shown turned by an angle that is no multiple of 90 degrees; it is read as stored")
        return (1, 0), (0, 1)
    return (a, b), (c, d)


def warn(path: Path, what: str) -> None:
    """Warn of a property of a video; Python prints equal warnings once, however often the file is read."""
    warnings.warn(f"{path}: {what}", stacklevel=1)
