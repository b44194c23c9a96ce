"""Decodes video files into upright RGB frames, and names what a file says that these do not show."""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikevrt.data.files.video_colours import HDR, UNTAGGED, untagged_matrix
from spikevrt.errors import UserError, warn

Frame = NDArray[np.uint8]
Matrix = tuple[tuple[int, int], tuple[int, int]]
UPRIGHT: Matrix = (1, 0), (0, 1)
TURNS: dict[int, Matrix] = {90: ((0, -1), (1, 0)), 180: ((-1, 0), (0, -1)), 270: ((0, 1), (-1, 0))}
"""Degrees against the clock -> how a frame is turned (see `display_matrix`)."""
TIMED = ("video", "audio", "subtitle")
"""Kinds of streams whose packets show how far a file reaches; PyAV reads none without a decoder."""
FRAME_A_PACKET = ("h264", "hevc", "av1", "vp9", "mjpeg", "prores", "dnxhd", "ffv1", "rawvideo")
"""Codecs whose packets hold one shown frame each; in others there are packets that show nothing."""
STATING_DURATION = ("mov", "matroska", "avi", "flv", "asf")
"""Containers that say how long they last; of others, FFmpeg guesses it from what is there."""


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
        count, reach = 0, Reach(container, stream)
        for packet in reach.packets():
            for frame in packet.decode() if packet.stream_index == stream.index else ():
                count += 1
                if frame.is_corrupt or packet.is_corrupt:
                    warn(path, "is damaged: some frames are only guessed by the decoder; fetch or convert it again")
                yield frame
        missing = reach.missing(count)
        if missing:
            warn(path, f"ends after {missing[0]:.2f} of {missing[1]:.2f} s, it is not whole: fetch it again")


class Reach:
    """How far the packets of a file reach, beside how far it says that it lasts.

    Args:
        container: PyAV's container.
        stream: the video stream that is read.
    """

    def __init__(self, container: Any, stream: Any) -> None:
        self._container, self._stream = container, stream
        self._timed = [s for s in container.streams if s is stream or (s.type in TIMED and s.codec_context is not None)]
        # Stream -> seconds at which its last packet ends.
        self._ends = dict.fromkeys((s.index for s in self._timed), 0.0)

    def packets(self) -> Iterator[Any]:
        """The packets of the video and of what is shown and heard with it."""
        for packet in self._container.demux(self._timed):
            if packet.pts is not None and packet.size:
                end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                self._ends[packet.stream_index] = max(self._ends[packet.stream_index], end)
            yield packet

    def missing(self, count: int) -> tuple[float, float] | None:
        """How long a file of `count` frames lasts, and how long it says that it does, in seconds, if that is longer."""
        spans = self._spans() if count else ()
        return next(((found, said) for found, said in spans if found < said - max(0.05, 1.5 * found / count)), None)

    def _spans(self) -> Iterator[tuple[float, float]]:
        """How long the file and the stream last, and how long the file says that they do."""
        container, stream = self._container, self._stream
        if not container.format.name.startswith(STATING_DURATION):
            return
        if all(s.index in self._ends for s in container.streams if s.type in TIMED):
            # Matroska counts from 0, not from its first frame.
            yield max(self._ends.values()), (container.duration or 0) / 1e6
        # Streams of Matroska do not say it; FFmpeg then gives them the length of the file.
        if stream.duration and not container.format.name.startswith("matroska"):
            start = (stream.start_time or 0) * stream.time_base
            yield self._ends[stream.index] - float(start), float(stream.duration * stream.time_base)


def time_stamps(path: Path) -> list[int | None]:
    """When the frames of a video are shown, in order and in the time base of its stream; None where it is not said.

    Its packets tell it as fast as they are read; where they may not, the video is decoded.
    """
    stamps = packet_stamps(path)
    return [frame.pts for frame in decoded(path)] if stamps is None else stamps


def packet_stamps(path: Path) -> list[int | None] | None:
    """What `time_stamps` returns, without decoding; None where there may be packets that are no frames.

    A packet is a frame unless it is to be discarded, as edit lists say. This is not so for some codecs, for interlaced
    video, whose fields may have packets of their own, where the first frames need others that are missing, and in
    damaged files.
    """
    first = next(decoded(path), None)
    if first is None or first.interlaced_frame:
        return None
    with opened_video(path) as (container, stream):
        if stream.codec_context.codec.canonical_name not in FRAME_A_PACKET:
            return None
        reach = Reach(container, stream)
        marks = [
            (packet.pts, packet.is_discard, packet.is_corrupt)
            for packet in reach.packets()
            if packet.stream_index == stream.index and packet.size
        ]
        if any(pts is None or corrupt for pts, _, corrupt in marks):
            return None
        stamps = [pts for pts, discarded, _ in marks if not discarded]
        # What is shown before the first key frame needs one before it, which is not there.
        orphaned = any(stamp < marks[0][0] for stamp in stamps)
        if stream.codec_context.has_b_frames:
            stamps.sort()
        unordered = stamps[:1] != [first.pts] or any(b <= a for a, b in pairwise(stamps))
        return None if orphaned or unordered or reach.missing(len(stamps)) else stamps


def to_rgb(frame: Any, path: Path) -> Frame:
    """One decoded frame as RGB (H,W,3), upright; warns of what RGB of 8 bits does not show."""
    if frame.color_trc in HDR:
        warn(path, f"is HDR ({HDR[frame.color_trc]}), which is read without tone mapping: expect flat colours")
    if frame.interlaced_frame:
        warn(path, "is interlaced; its fields are not separated: deinterlace it first for sharp motion")
    if any(component.is_alpha for component in frame.format.components):
        warn(path, "has an alpha channel, which is not used: colours are read as if opaque")
    bits = max(component.bits for component in frame.format.components)
    if bits > 8:
        warn(path, f"has {bits} bits a channel, of which frames keep the upper 8")
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
