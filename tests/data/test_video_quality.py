"""Written videos come back near enough or exactly, in the colours, shape, times and sound of their source.

Colours are read as a player does: from the stored numbers, by the tags of the file alone.
"""

from fractions import Fraction

import av
import numpy as np
import pytest

from spikevrt.data.files.video import frame_times, pixel_aspect, read_frames
from spikevrt.data.files.video_writing import Quality, video_writer
from spikevrt.errors import UserError
from tests.small_videos import GAP, STORED, display_matrix, lines, packets, pattern, write

SUFFIXES = [".mp4", ".mkv", ".mov", ".avi"]
RED_AND_BLUE = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}
"""Weights of R and B in the brightness, by FFmpeg's number of the matrix."""
FULL = 2


def natural(count=3, size=(96, 128)):
    """Frames with what real ones have: soft light, edges in all colours, texture, grain; moving."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: size[0], : size[1] + count] / 16
    light = np.stack([128 + 60 * np.sin(x + k) * np.cos(y - k) for k in range(3)], -1)
    texture = rng.normal(0, 12, (*light.shape[:2], 1))
    edges = np.where(((x // 2 + y // 2) % 3 == 0)[..., None], rng.integers(-50, 50, 3), 0)
    scene = light + texture + edges
    return [
        np.clip(scene[:, i : i + size[1]] + rng.normal(0, 2, (*size, 3)), 0, 255).round().astype(np.uint8)
        for i in range(count)
    ]


def written(path, frames, like=None, **quality):
    """Write a video and return what it is read as."""
    with video_writer(path, None, like, Quality(**quality)) as add:
        for frame in frames:
            add(frame)
    return list(read_frames(path))


def worst(found, frames):
    """PSNR of the frame that is furthest from the one that was given, in dB."""
    errors = [np.square(a.astype(float) - b).mean() for a, b in zip(found, frames, strict=True)]
    return 10 * np.log10(255**2 / max(errors))


def test_a_written_video_is_within_45_db_of_its_frames(tmp_path):
    frames = natural()
    assert worst(written(tmp_path / "a.mp4", frames), frames) > 45
    finer = worst(written(tmp_path / "b.mp4", frames, crf=1), frames)
    coarser = worst(written(tmp_path / "c.mp4", frames, crf=12), frames)
    assert finer > 47 > 42 > coarser
    halved = worst(written(tmp_path / "d.mp4", frames, half_chroma=True), frames)
    assert 30 < halved < 45, "chroma at half the resolution cannot hold what RGB does"
    with av.open(str(tmp_path / "d.mp4")) as container:
        assert container.streams.video[0].pix_fmt == "yuv420p"
    sizes = [(tmp_path / f"{name}.mp4").stat().st_size for name in "bac"]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_lossless_video_comes_back_bit_by_bit(tmp_path, suffix):
    source = write(tmp_path / "a.mp4", [pattern()] * 2, sound="aac", color_primaries=5, colorspace=5, color_range=FULL)
    frames = [np.random.default_rng(i).integers(0, 256, (33, 47, 3), dtype=np.uint8) for i in range(2)]
    found = written(tmp_path / f"out{suffix}", frames, source, lossless=True)
    assert np.array_equal(found, frames)
    assert packets(tmp_path / f"out{suffix}") == packets(source) != []
    frame = first_frame(tmp_path / f"out{suffix}")
    assert (frame.colorspace, frame.color_range, frame.color_primaries) == (0, FULL, 5)


def test_what_an_encoder_cannot_do_is_named(tmp_path, monkeypatch):
    odd = [pattern((33, 47))]
    said = lines(lambda: written(tmp_path / "a.mp4", odd, half_chroma=True))
    assert said == [f"{tmp_path}/a.mp4: 4:2:0 has even sizes only, not 33x47: written in 4:4:4"]
    monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    said = lines(lambda: written(tmp_path / "b.mp4", odd))
    assert said == [
        f"{tmp_path}/b.mp4: PyAV lacks the encoder libx264: written as MPEG-4, 4:2:0, 30 to 42 dB from the frames"
    ]
    with pytest.raises(UserError, match=r"c\.mp4: lossless video needs the encoder libx264rgb, .*pip install av"):
        written(tmp_path / "c.mp4", odd, lossless=True)
    assert not (tmp_path / "c.mp4").exists()


def first_frame(path):
    with av.open(str(path)) as container:
        return next(container.decode(video=0))


def as_played(path):
    """The RGB of a 4:4:4 video's first frame: its numbers, converted by its tags."""
    frame = first_frame(path)
    y, u, v = frame.to_ndarray(format=frame.format.name).astype(float)
    if frame.color_range == FULL:
        y, u, v = y / 255, (u - 128) / 255, (v - 128) / 255
    else:
        y, u, v = (y - 16) / 219, (u - 128) / 224, (v - 128) / 224
    weight_red, weight_blue = RED_AND_BLUE[frame.colorspace]
    red, blue = y + 2 * (1 - weight_red) * v, y + 2 * (1 - weight_blue) * u
    green = (y - weight_red * red - weight_blue * blue) / (1 - weight_red - weight_blue)
    return 255 * np.clip(np.stack([red, green, blue], -1), 0, 1)


BARS = np.repeat(np.repeat(np.array([np.unravel_index(i, (2, 2, 2)) for i in range(8)]), 8, 0)[None] * 191, 48, 0)


@pytest.mark.parametrize(
    ("tags", "kept", "said"),
    [
        ({"colorspace": 1, "color_range": 1, "color_primaries": 1, "color_trc": 1}, (1, 1, 1, 1), None),
        ({"colorspace": 1, "color_range": 2, "pix": "yuvj444p"}, (1, 2, 1, 1), None),
        ({"colorspace": 5, "color_range": 1, "color_primaries": 5, "color_trc": 6}, (5, 1, 5, 6), None),
        ({"colorspace": 6, "color_range": 2, "color_primaries": 6, "pix": "yuvj444p"}, (6, 2, 6, 1), None),
        (
            {"colorspace": 9, "color_range": 1, "color_primaries": 9, "color_trc": 14, "pix": "yuv444p10le"},
            (9, 1, 9, 14),
            "10 bits",
        ),
        ({"colorspace": 9, "color_range": 1, "color_primaries": 9, "color_trc": 16}, (9, 1, 9, 16), "HDR"),
        ({}, (1, 1, 1, 1), None),
        ({"codec": "libx264rgb", "pix": "rgb24"}, (1, 1, 1, 1), None),
    ],
    ids=["hd", "full", "pal", "ntsc-full", "wide-10-bit", "pq", "untagged", "rgb"],
)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_colours_are_played_as_those_of_the_source(tmp_path, tags, kept, said, suffix):
    bars = BARS.astype(np.uint8)
    source = write(tmp_path / "a.mkv", [bars] * 2, **{"options": {"qp": "0"}, **tags})
    out = tmp_path / f"out{suffix}"
    found = []
    said_of_all = lines(lambda: found.extend(written(out, read_frames(source), source)))
    messages = [line for line in said_of_all if line.startswith(str(source))]
    assert len(messages) == (said is not None)
    assert said is None or said in messages[0]
    frame = first_frame(out)
    assert (frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc) == kept
    assert np.abs(as_played(out) - bars).max() <= 4
    assert np.abs(found[0].astype(int) - bars).max() <= 4


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_turned_stretched_video_with_sound_stands_upright(tmp_path, suffix):
    stored, out = STORED[6](pattern()), tmp_path / f"out{suffix}"
    source = write(
        tmp_path / "a.mov",
        [stored] * len(GAP),
        GAP if suffix != ".avi" else None,
        matrix=display_matrix(6),
        sound="aac",
        sample_aspect_ratio=Fraction(4, 3),
    )
    frames = list(read_frames(source))
    found = written(out, frames, source)
    assert first_frame(out).rotation == 0
    assert pixel_aspect(out) == pixel_aspect(source) == Fraction(3, 4)
    assert np.abs(np.array(found).astype(int) - frames).max() <= 8
    assert packets(out) == packets(source) != []
    steps = [np.diff([float(time) for time in frame_times(path).times]) for path in (out, source)]
    np.testing.assert_allclose(*steps, atol=2e-3)
