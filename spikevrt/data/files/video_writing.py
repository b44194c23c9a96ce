"""Writes frames as a video that players show with the right colours, times, pixel aspect and sound."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from spikevrt.data.files.atomic import replacing
from spikevrt.data.files.video import DEFAULT_RATE, Timing, frame_times, pictures_of, pixel_aspect
from spikevrt.data.files.video_colours import LIMITED, Colours, untagged_matrix
from spikevrt.data.files.video_decoding import Frame, decoded, location, open_container, require_av
from spikevrt.data.files.video_sound import Sound, left_out
from spikevrt.errors import UserError, warn

TICK = Fraction(1, 60000)
"""Unit of written time stamps: whole for milliseconds and for all usual frame rates, 30000/1001 too."""
CRF = 4
"""Constant rate factor at which every written frame is within 45 dB PSNR of the one that was given.

Measured on films, photos, and both with noise: the worst frames have 45.2 to 51 dB. With chroma at half the resolution,
films and photos have 36 to 44 dB even where nothing else is lost.
"""


@dataclass(frozen=True)
class Quality:
    """How near a written video is to its frames, and who can play it."""

    crf: int = CRF
    """Constant rate factor of H.264, from 0 (best) to 51."""
    half_chroma: bool = False
    """Whether colour is stored at half the resolution (4:2:0), as some players need: at most 36 to 44 dB."""
    lossless: bool = False
    """Whether the frames are stored bit by bit, as RGB; the others do not matter then."""


class Coding(NamedTuple):
    """What encodes frames: a codec, its pixel format and its options."""

    codec: str
    pixels: str
    options: dict[str, str]


def coding(quality: Quality, path: Path) -> Coding:
    """How a video of some quality is encoded; a warning says where that is not what was asked for.

    Raises:
        UserError: the encoder for lossless video is missing.
    """
    codecs = require_av().codecs_available
    # Frames that are coded out of order have no place in AVI, and cut the stated duration of uneven ones short.
    in_order = {"bf": "0"}
    if quality.lossless:
        if "libx264rgb" not in codecs:
            raise UserError(f"{path}: lossless video needs the encoder libx264rgb, which PyAV lacks: pip install av")
        return Coding("libx264rgb", "rgb24", {**in_order, "qp": "0"})
    if "libx264" not in codecs:
        warn(path, "PyAV lacks the encoder libx264: written as MPEG-4, 4:2:0, 30 to 42 dB from the frames")
        # The finest quantiser, in FFmpeg's units of 1/118.
        return Coding("mpeg4", "yuv420p", {**in_order, "flags": "+qscale", "global_quality": "118"})
    pixels = "yuv420p" if quality.half_chroma else "yuv444p"
    # What x264 does for the eye takes from every frame some 3 dB of PSNR at the same size.
    return Coding("libx264", pixels, {**in_order, "crf": str(quality.crf), "tune": "psnr"})


class Writer(Protocol):
    """Accepts frames one by one."""

    def __call__(self, frame: Frame) -> None:
        """Append a frame (H,W,3)."""


@contextmanager
def video_writer(
    path: Path,
    fps: float | None = None,
    like: Path | None = None,
    quality: Quality = Quality(),
    part: range | None = None,
) -> Iterator[Writer]:
    """Write an H.264 video (MPEG-4 if the encoder is missing); the file appears once it is complete.

    Args:
        path: the file; its suffix names the container.
        fps: frames per second; None = the time stamps of `like`, or 24 if it has none.
        like: where the frames come from. If it is a video, its pixel aspect and colours are kept, and its sound too
            unless `fps` is given, which may change the pace.
        quality: how near the video is to its frames.
        part: numbers of the frames of `like` that are written; without all of them there is no sound. None = all.

    Raises:
        UserError: the file cannot be written.
    """
    av = require_av()
    film = like if like is not None and pictures_of(like) is None else None
    timing, silent = Timing(0, to_rate(fps)), "as --fps gives the video its own pace"
    if film is not None and fps is None:
        whole = frame_times(film)
        timing, silent = storable(whole.of(part), path), "as not all frames are written"
        part = None if part == range(whole.count) else part
    try:
        with ExitStack() as stack:
            temporary = stack.enter_context(replacing(path))
            container = stack.enter_context(av.open(location(temporary), "w"))
            encoder = Encoder(container, timing, path, quality)
            sound = Sound()
            if film is not None:
                encoder.show_like(film)
                source = stack.enter_context(open_container(film))
                kept = fps is None and part is None
                sound = Sound.of(source, container, film) if kept else left_out(source, film, silent)

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
        path: what the video is called in messages.
        quality: how near the video is to its frames.
    """

    def __init__(self, container: Any, timing: Timing, path: Path, quality: Quality) -> None:
        self._container, self._timing, self._path = container, timing, path
        self._coding = coding(quality, path)
        self._stream = container.add_stream(self._coding.codec, rate=timing.rate, options=self._coding.options)
        self._tick = TICK if timing.times else 1 / timing.rate
        self._count, self._last = 0, -1
        self._aspect, self._colours = Fraction(1), Colours()

    def show_like(self, film: Path) -> None:
        """Take the pixel aspect and the colours of a video; before the first frame."""
        self._aspect = pixel_aspect(film)
        first = next(decoded(film), None)
        if first is not None:
            self._colours = Colours.of(first)

    def encode(self, frame: Frame) -> Fraction:
        """Append a frame and return its time in seconds."""
        if self._count == 0:
            self._open(*frame.shape[:2])
        rgb = require_av().VideoFrame.from_ndarray(frame, format="rgb24")
        picture = self._colours.converted(rgb, self._stream.pix_fmt)
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
        """Choose the pixel format and the tags for frames of some size."""
        codec, pixels, _ = self._coding
        if codec == "libx264" and pixels == "yuv420p" and (height % 2 or width % 2):
            warn(self._path, f"4:2:0 has even sizes only, not {height}x{width}: written in 4:4:4")
            pixels = "yuv444p"
        if codec == "libx264rgb":
            self._colours = self._colours.as_rgb()
        if codec == "mpeg4":  # In AVI it cannot name its matrix.
            self._colours = replace(self._colours, matrix=untagged_matrix(height, width), range=LIMITED)
        context = self._stream.codec_context
        context.height, context.width, context.pix_fmt = height, width, pixels
        context.time_base, context.sample_aspect_ratio = self._tick, self._aspect
        self._colours.tag(context)
