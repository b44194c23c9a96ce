"""Writes frames as a video that players show with the right colours, times, pixel aspect and sound."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

from spikevrt.data.files.atomic import replacing
from spikevrt.data.files.video import DEFAULT_RATE, Timing, frame_times, pictures_of, pixel_aspect
from spikevrt.data.files.video_decoding import (
    Frame,
    location,
    open_container,
    require_av,
    start_of,
    untagged_matrix,
)
from spikevrt.errors import UserError, warn

TICK = Fraction(1, 60000)
"""Unit of written time stamps: whole for milliseconds and for all usual frame rates, 30000/1001 too."""
BT709 = 1
"""FFmpeg's number of BT.709 as matrix, primaries and transfer function."""
LIMITED = 1
"""FFmpeg's number of the range 16 to 235."""


class Writer(Protocol):
    """Accepts frames one by one."""

    def __call__(self, frame: Frame) -> None:
        """Append a frame (H,W,3)."""


@contextmanager
def video_writer(path: Path, fps: float | None = None, like: Path | None = None) -> Iterator[Writer]:
    """Write an H.264 video (MPEG-4 if the encoder is missing); the file appears once it is complete.

    Args:
        path: the file; its suffix names the container.
        fps: frames per second; None = the time stamps of `like`, or 24 if it has none.
        like: where the frames come from. If it is a video, its pixel aspect is kept, and its sound too unless `fps`
            is given, which may change the pace.

    Raises:
        UserError: the file cannot be written.
    """
    av = require_av()
    film = like if like is not None and pictures_of(like) is None else None
    timing = Timing(0, to_rate(fps)) if film is None or fps is not None else storable(frame_times(film), path)
    try:
        with ExitStack() as stack:
            temporary = stack.enter_context(replacing(path))
            container = stack.enter_context(av.open(location(temporary), "w"))
            encoder = Encoder(container, timing, pixel_aspect(film) if film is not None else Fraction(1))
            sound = Sound()
            if film is not None:
                source = stack.enter_context(open_container(film))
                sound = Sound.of(source, container, film) if fps is None else left_out(source, film)

            def write(frame: Frame) -> None:
                sound.copy(until=encoder.encode(frame))

            yield write
            encoder.finish()
            sound.copy()
    except av.error.FFmpegError as error:
        raise UserError(
            f"{path}: cannot be written as video ({error.strerror}); check the disk and the suffix"
        ) from None


def to_rate(fps: float | None) -> Fraction:
    """Frames per second as a fraction that containers can hold."""
    return DEFAULT_RATE if fps is None else Fraction(fps).limit_denominator(1001)


def storable(timing: Timing, path: Path) -> Timing:
    """The timing as the container of `path` can hold it: AVI knows a rate, but no time stamps."""
    if path.suffix.lower() != ".avi":
        return timing
    if not timing.even:
        warn(path, f"AVI holds no time stamps: frames are written evenly, {float(timing.rate):.5g} a second")
    return Timing(timing.count, timing.rate)


class Encoder:
    """Encodes frames (H,W,3) into the video stream of a container.

    Args:
        container: PyAV's container to write to.
        timing: the time stamps; frames follow each other at its rate if it has none.
        aspect: width of a pixel, in heights.
    """

    def __init__(self, container: Any, timing: Timing, aspect: Fraction) -> None:
        self._av = require_av()
        self._container = container
        self._timing = timing
        self._tick = TICK if timing.times else 1 / timing.rate
        self._count, self._last = 0, -1
        self._h264 = "libx264" in self._av.codecs_available
        # Frames that are coded out of order have no place in AVI, and cut the stated duration of uneven ones short.
        options = {"bf": "0"}
        self._stream = container.add_stream("libx264" if self._h264 else "mpeg4", rate=timing.rate, options=options)
        self._stream.codec_context.sample_aspect_ratio = aspect

    def encode(self, frame: Frame) -> Fraction:
        """Append a frame and return its time in seconds."""
        if self._count == 0:
            self._open(*frame.shape[:2])
        picture = self._av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(
            format=self._stream.pix_fmt,
            src_color_range="JPEG",
            dst_color_range="MPEG",
            dst_colorspace=self._matrix,
        )
        time = self._timing.times[self._count] if self._timing.times else self._count * self._tick
        picture.pts = self._last = max(self._last + 1, round(time / self._tick))
        picture.time_base = self._tick
        self._count += 1
        self._container.mux(self._stream.encode(picture))
        return time

    def finish(self) -> None:
        """Write the frames that the encoder still holds."""
        self._container.mux(self._stream.encode())

    def _open(self, height: int, width: int) -> None:
        """Choose format and colours; H.264 with chroma at half the resolution has even sizes only."""
        context = self._stream.codec_context
        context.height, context.width = height, width
        context.time_base = self._tick
        context.pix_fmt = "yuv444p" if self._h264 and (height % 2 or width % 2) else "yuv420p"
        # MPEG-4 in AVI cannot name its matrix.
        self._matrix = BT709 if self._h264 else untagged_matrix(height, width)
        context.color_range, context.colorspace = LIMITED, self._matrix
        context.color_primaries = context.color_trc = BT709


class Sound:
    """Copies the sound of a video beside its frames, packet by packet.

    Args:
        packets: sound in order of time, as (seconds, packet); none by default.
        container: PyAV's container to write to.
    """

    def __init__(self, packets: Iterable[tuple[Fraction, Any]] = (), container: Any = None) -> None:
        self._packets = iter(packets)
        self._container = container
        self._next = next(self._packets, None)

    @classmethod
    def of(cls, source: Any, container: Any, path: Path) -> "Sound":
        """The sound of PyAV's container `source`; a warning names what the written container cannot hold."""
        copies = {}
        for stream in source.streams.audio:
            if stream.codec_context is None:
                warn(path, "its sound is of an unknown kind and is not copied")
            elif can_hold(container.format.name, path, stream.index):
                copies[stream.index] = container.add_stream_from_template(stream)
            else:
                warn(path, f"its sound ({stream.codec_context.name}) has no place in the written video: use .mkv")
        if source.streams.subtitles:
            warn(path, "its subtitles are not copied")
        return cls(shifted(source, copies), container) if copies else cls()

    def copy(self, until: Fraction | None = None) -> None:
        """Write the sound up to a time in seconds; None = all of it."""
        while self._next is not None and (until is None or self._next[0] <= until):
            self._container.mux(self._next[1])
            self._next = next(self._packets, None)


def shifted(source: Any, copies: dict[int, Any]) -> Iterator[tuple[Fraction, Any]]:
    """The packets of some streams for their copies, with times that count from the start of the file."""
    start = start_of(source)
    for packet in source.demux([source.streams[index] for index in copies]):
        if packet.dts is None:
            continue
        base = Fraction(packet.time_base.numerator, packet.time_base.denominator)
        shift = round(start / base)
        packet.pts, packet.dts = (packet.dts if packet.pts is None else packet.pts) - shift, packet.dts - shift
        packet.stream = copies[packet.stream.index]
        yield packet.dts * base, packet


def can_hold(container: str, path: Path, index: int) -> bool:
    """Whether a kind of container takes a copy of a stream of the file `path`; only writing a part of it tells."""
    av = require_av()
    try:
        with open_container(path) as source, av.open(BytesIO(), "w", format=container) as trial:
            stream = source.streams[index]
            _, packet = next(shifted(source, {index: trial.add_stream_from_template(stream)}))
            trial.mux(packet)
    except StopIteration:
        return True
    except (av.error.FFmpegError, ValueError):
        return False
    return True


def left_out(source: Any, path: Path) -> Sound:
    """No sound; a warning says so if there is some."""
    if source.streams.audio:
        warn(path, "its sound is left out, as --fps gives the video its own pace")
    return Sound()
