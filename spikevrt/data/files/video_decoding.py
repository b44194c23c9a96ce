"""Decodes video files into upright RGB frames, and names what a file says that these do not show."""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikevrt.errors import UserError, warn

Frame = NDArray[np.uint8]
Matrix = tuple[tuple[int, int], tuple[int, int]]
UPRIGHT: Matrix = (1, 0), (0, 1)
TURNS: dict[int, Matrix] = {90: ((0, -1), (1, 0)), 180: ((-1, 0), (0, -1)), 270: ((0, 1), (-1, 0))}
"""Degrees against the clock -> how a frame is turned (see `display_matrix`)."""
UNTAGGED = 2
"""FFmpeg's number for colours that a file says nothing about."""
TIMED = ("video", "audio", "subtitle")
"""Kinds of streams whose packets show how far a file reaches; PyAV reads none without a decoder."""
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
        return av.open(location(path))
    except UnicodeDecodeError:
        return av.open(location(path), metadata_encoding="latin-1")


def location(path: Path) -> str:
    """How FFmpeg is told of a file: of `12:30:00.mp4` alone it would take `12` for a protocol, as in `http:`."""
    return f"file:{path}"


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
        timed = [s for s in container.streams if s is stream or (s.type in TIMED and s.codec_context is not None)]
        # Stream -> seconds at which its last packet ends.
        ends = dict.fromkeys((s.index for s in timed), 0.0)
        for packet in container.demux(timed):
            if packet.pts is not None and packet.size:
                end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                ends[packet.stream_index] = max(ends[packet.stream_index], end)
            for frame in packet.decode() if packet.stream_index == stream.index else ():
                count += 1
                if frame.is_corrupt or packet.is_corrupt:
                    warn(path, "is damaged: some frames are only guessed by the decoder; fetch or convert it again")
                yield frame
        for found, said in spans(container, stream, ends) if count else ():
            if found < said - max(0.05, 1.5 * found / count):
                warn(path, f"ends after {found:.2f} of {said:.2f} s, it is not whole: fetch it again")
                break


def spans(container: Any, stream: Any, ends: dict[int, float]) -> Iterator[tuple[float, float]]:
    """How long a file and a stream of it last, and how long the file says that they do, in seconds."""
    if not container.format.name.startswith(STATING_DURATION):
        return
    if all(s.index in ends for s in container.streams if s.type in TIMED):
        # Matroska counts from 0, not from its first frame.
        yield max(ends.values()), (container.duration or 0) / 1e6
    if stream.duration:
        start = (stream.start_time or 0) * stream.time_base
        yield ends[stream.index] - float(start), float(stream.duration * stream.time_base)


def to_rgb(frame: Any, path: Path) -> Frame:
    """One decoded frame as RGB (H,W,3), upright; warns of what RGB of 8 bits does not show."""
    if frame.color_trc in HDR:
        warn(path, f"is HDR ({HDR[frame.color_trc]}), which is read without tone mapping: expect flat colours")
    if frame.interlaced_frame:
        warn(path, "is interlaced; its fields are not separated: deinterlace it first for sharp motion")
    if any(component.is_alpha for component in frame.format.components):
        warn(path, "has an alpha channel, which is not used: colours are read as if opaque")
    if frame.colorspace == UNTAGGED and not frame.format.is_rgb:
        frame.colorspace = untagged_matrix(frame.height, frame.width)
    try:
        stored = frame.to_ndarray(format="rgb24")
    except require_av().error.FFmpegError:
        matrix = f"{frame.format.name}, matrix {frame.colorspace}"
        raise UserError(f"{path}: colours of this kind ({matrix}) cannot be read; convert it to BT.709") from None
    (a, b), (c, d) = display_matrix(frame, path)
    if a == 0:
        stored, a, d = stored.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(stored[:: d or 1, :: a or 1])


def untagged_matrix(height: int, width: int) -> int:
    """PyAV's number of the colour matrix that players assume where a file names none: BT.709 for HD, else BT.601."""
    known = require_av().video.reformatter.Colorspace
    return known.ITU709 if width >= 1280 or height > 576 else known.ITU601


def display_matrix(frame: Any, path: Path) -> Matrix:
    """The turns by 90 degrees and mirrorings that show a frame upright, as a matrix of -1, 0 and 1.

    A stored pixel (x,y) is shown at (a x + c y, b x + d y); ((a, b), (c, d)) is returned.
    """
    kind = require_av().sidedata.sidedata.Type.DISPLAYMATRIX
    try:
        data = frame.side_data.get(kind)
    except ValueError:
        # PyAV 18 cannot list data of kinds that it does not know yet; the angle it finds all the same.
        return TURNS.get(frame.rotation % 360, UPRIGHT)
    if data is None:
        return UPRIGHT
    values = np.frombuffer(bytes(data), np.int32)
    a, b, c, d = (int(np.sign(values[i])) for i in (0, 1, 3, 4))
    if abs(a) != abs(d) or abs(b) != abs(c) or abs(a) == abs(b):
        warn(path, "is to be shown turned by an angle that is no multiple of 90 degrees; it is read as stored")
        return UPRIGHT
    return (a, b), (c, d)
