"""Reads frames from a video file or a folder of pictures, and writes videos."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from spikevrt.data.files.atomic import replacing
from spikevrt.data.files.images import picture_files, read_image
from spikevrt.errors import UserError

Frame = NDArray[np.uint8]
DEFAULT_RATE = 24.0


def require_av() -> ModuleType:
    """Import PyAV, or raise one line that says how to install it."""
    try:
        import av
    except ImportError:
        raise UserError("video files need PyAV: pip install 'spikevrt[video]'") from None
    return av


def read_frames(path: Path) -> Iterator[Frame]:
    """Iterate over the RGB frames (H,W,3) of a video file or of a folder of pictures, in order.

    Raises:
        UserError: the path does not exist, holds no frames, or cannot be decoded.
    """
    if path.is_dir():
        files = picture_files(path)
        if not files:
            raise UserError(f"{path}: holds no pictures; name a video file or a folder of frames")
        yield from map(read_image, files)
        return
    if not path.is_file():
        raise UserError(f"{path}: no such video or folder; check the path")
    av = require_av()
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise UserError(f"{path}: holds no video stream; name a video file or a folder of frames")
            for frame in container.decode(video=0):
                yield frame.to_ndarray(format="rgb24")
    except av.error.FFmpegError as error:
        raise UserError(f"{path}: cannot be decoded as video ({error.strerror}); fetch or convert it again") from None


def frame_rate(path: Path) -> float:
    """Frames per second of a video; 24 for a folder of pictures."""
    if path.is_dir():
        return DEFAULT_RATE
    with require_av().open(str(path)) as container:
        rate = container.streams.video[0].average_rate
    return float(rate) if rate else DEFAULT_RATE


def frame_names(path: Path) -> list[str] | None:
    """Stems of the pictures of a folder; None for a video."""
    return [p.stem for p in picture_files(path)] if path.is_dir() else None


def count_frames(path: Path) -> int:
    """Number of frames of a video, or of pictures of a folder; a video is decoded, as files often do not say."""
    names = frame_names(path)
    return len(names) if names is not None else sum(1 for _ in read_frames(path))


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


class Writer(Protocol):
    """Accepts frames one by one."""

    def __call__(self, frame: Frame) -> None:
        """Append a frame (H,W,3)."""


@contextmanager
def video_writer(path: Path, fps: float) -> Iterator[Writer]:
    """Write an H.264 video (MPEG-4 if the encoder is missing); the file appears once it is complete."""
    av = require_av()
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    with replacing(path) as temporary, av.open(str(temporary), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
        stream.pix_fmt = "yuv420p"

        def write(frame: Frame) -> None:
            # Chroma is stored at half the resolution, so odd sizes are made even by repeating the last row or column.
            H, W = frame.shape[:2]
            even = np.pad(frame, ((0, H % 2), (0, W % 2), (0, 0)), mode="edge")
            if not stream.codec_context.is_open:
                stream.height, stream.width = even.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))

        yield write
        container.mux(stream.encode())
