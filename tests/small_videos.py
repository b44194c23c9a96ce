"""Pictures and videos as phones make them: turned, with uneven time stamps, with sound."""

import warnings
from fractions import Fraction

import av
import numpy as np
from PIL import Image

ORIENTATION = 274
STORED = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, 1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: np.rot90(x, -1),
}
"""EXIF orientation -> how an upright picture is stored under it."""
SIZE = (48, 64)
GAP = (0, 40, 80, 120, 1120, 1160, 1200, 1240)
"""Milliseconds at which the frames of a phone's video start, one of whose steps is long."""
EVEN = tuple(range(0, 320, 40))
ONE = 1 << 16


def exif(orientation):
    """EXIF data for Pillow's `save`."""
    data = Image.Exif()
    data[ORIENTATION] = orientation
    return data


def pattern(size=SIZE, shade=60):
    """Upright: red on the top left, blue on the bottom right."""
    H, W = size
    picture = np.full((H, W, 3), shade, np.uint8)
    picture[: H // 2, : W // 2] = (255, 0, 0)
    picture[H // 2 :, W // 2 :] = (0, 0, 255)
    return picture


def write(path, frames, times=None, codec="libx264", pix="yuv444p", matrix=None, sound=None, **context):
    """Write a video; `times` are milliseconds, `matrix` turns it, `sound` is an audio codec."""
    lossless = {"crf": "0", "preset": "ultrafast"} if codec == "libx264" else {}
    options = context.pop("options", lossless)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix
        stream.codec_context.time_base = Fraction(1, 1000)
        for name, value in context.items():
            setattr(stream.codec_context, name, value)
        if matrix is not None:
            stream.set_display_matrix(matrix)
        audio = container.add_stream(sound, rate=48000, layout="stereo") if sound else None
        for time, frame in zip(times or range(0, 40 * len(frames), 40), frames, strict=True):
            made = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            made = made.reformat(
                format=pix,
                src_color_range="JPEG",
                dst_color_range=context.get("color_range"),
                dst_colorspace=context.get("colorspace"),
            )
            made.pts, made.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(made))
        container.mux(stream.encode())
        for start in range(0, 60 * 1024, 1024) if audio else ():
            block = av.AudioFrame.from_ndarray(np.full((1, 2048), start % 999, np.int16), "s16", "stereo")
            block.sample_rate, block.pts, block.time_base = 48000, start, Fraction(1, 48000)
            container.mux(audio.encode(block))
        container.mux(audio.encode() if audio else [])
    return path


def display_matrix(orientation):
    """What shows a stored pixel (x,y) of an EXIF orientation upright: to (a x + c y, b x + d y)."""
    a, b, c, d = {
        1: (1, 0, 0, 1),
        2: (-1, 0, 0, 1),
        3: (-1, 0, 0, -1),
        4: (1, 0, 0, -1),
        5: (0, 1, 1, 0),
        6: (0, 1, -1, 0),
        7: (0, -1, -1, 0),
        8: (0, -1, 1, 0),
    }[orientation]
    return [a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, 0, 0, 1 << 30]


def packets(path):
    """The packets of the first sound of a video, without their times."""
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size] if container.streams.audio else []


def lines(action):
    """The warnings of an action, in order and without repetition."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        action()
    return list(dict.fromkeys(str(warning.message) for warning in said))
