"""Written videos say how they are to be shown: times, size, colours; and keep the sound."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from spikevrt.data.files.video import count_frames, frame_times, pixel_aspect, read_frames
from spikevrt.data.files.video_writing import video_writer
from tests.small_videos import GAP, STORED, display_matrix, lines, packets, pattern, write


def copied(source, out, fps=None):
    def copy():
        with video_writer(out, fps, source) as add:
            for frame in read_frames(source):
                add(frame)

    return lines(copy)


@pytest.mark.parametrize("orientation", STORED)
def test_a_written_video_has_the_pixel_aspect_of_its_source(tmp_path, orientation):
    path, out, stored = tmp_path / "a.mp4", tmp_path / "out.mp4", STORED[orientation](pattern())
    write(path, [stored] * 2, matrix=display_matrix(orientation), sample_aspect_ratio=Fraction(4, 3))
    assert pixel_aspect(path) == (Fraction(3, 4) if orientation > 4 else Fraction(4, 3)), (
        "as the upright frames have it"
    )
    assert copied(path, out) == []
    assert pixel_aspect(out) == pixel_aspect(path)
    assert np.abs(next(read_frames(out)).astype(int) - pattern()).mean() < 8


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
@pytest.mark.parametrize("start", [0, 500])
def test_a_written_video_has_the_times_of_its_source(tmp_path, suffix, start):
    source, out = tmp_path / "a.mkv", tmp_path / f"out{suffix}"
    times = [start + time for time in GAP]
    write(source, [pattern(shade=10 * i) for i in range(len(GAP))], times)
    assert copied(source, out) == []
    found = frame_times(out)
    assert not found.even
    assert [float(time) for time in found.times] == pytest.approx([time / 1000 for time in GAP], abs=1e-3)
    with av.open(str(out)) as container:
        assert container.duration == pytest.approx(1_280_000, abs=45_000), "players stop where a file says that it ends"


def test_avi_holds_no_times(tmp_path):
    write(tmp_path / "a.mp4", [pattern()] * len(GAP), GAP)
    assert copied(tmp_path / "a.mp4", tmp_path / "out.avi") == [
        f"{tmp_path}/out.avi: AVI holds no time stamps: frames are written evenly, 25 a second"
    ]
    assert frame_times(tmp_path / "out.avi").rate == 25
    assert copied(tmp_path / "a.mp4", tmp_path / "out.mp4", fps=50) == []
    assert frame_times(tmp_path / "out.mp4").rate == 50


@pytest.mark.parametrize("size", [(48, 64), (33, 47), (720, 1280)], ids=str)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_written_videos_are_tagged_and_keep_their_size(tmp_path, size, suffix):
    green = np.zeros((*size, 3), np.uint8)
    green[...] = (0, 254, 0)
    with video_writer(tmp_path / f"a{suffix}", 24) as add:
        add(green)
        add(green)
    with av.open(str(tmp_path / f"a{suffix}")) as container:
        frame = next(container.decode(video=0))
    assert (frame.height, frame.width) == size
    assert (frame.colorspace, frame.color_range, frame.color_trc, frame.color_primaries) == (1, 1, 1, 1)
    y, u, v = (np.frombuffer(plane, np.uint8)[0] for plane in frame.planes)
    # BT.709, Y' from 16 to 235.
    assert 255 * ((y - 16.0) / 219 - 0.1873 * (u - 128.0) / 224 - 0.4681 * (v - 128.0) / 224) == pytest.approx(
        254, abs=3
    )
    assert np.abs(next(read_frames(tmp_path / f"a{suffix}")).astype(int) - green).max() <= 3


@pytest.mark.filterwarnings("ignore:.*PyAV lacks the encoder libx264")
def test_without_h264_the_size_is_kept_too(tmp_path, monkeypatch):
    monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    with video_writer(tmp_path / "a.avi", 24) as add:
        add(pattern((33, 47)))
        add(pattern((33, 47)))
    assert np.abs(next(read_frames(tmp_path / "a.avi")).astype(int) - pattern((33, 47))).mean() < 6


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".avi"])
def test_sound_is_kept(tmp_path, suffix):
    source = write(tmp_path / "a.mp4", [pattern(shade=8 * i) for i in range(30)], sound="aac")
    assert copied(source, tmp_path / f"out{suffix}") == []
    assert packets(tmp_path / f"out{suffix}") == packets(source) != []
    assert count_frames(tmp_path / f"out{suffix}") == 30


@pytest.mark.parametrize(
    ("sound", "out", "fps", "line"),
    [
        ("libopus", "out.mov", None, r"its sound \(opus\) has no place in the written video: use \.mkv"),
        ("pcm_s16le", "out.mp4", None, r"its sound \(pcm_s16le\) has no place in the written video: use \.mkv"),
        ("aac", "out.mp4", 30, "its sound is left out, as --fps gives the video its own pace"),
    ],
)
def test_sound_that_is_lost_is_named(tmp_path, sound, out, fps, line):
    source = write(tmp_path / "a.mkv", [pattern()] * 8, sound=sound)
    with pytest.warns(UserWarning, match=line), video_writer(tmp_path / out, fps, source) as add:
        add(pattern())
    assert packets(tmp_path / out) == []
    assert copied(source, tmp_path / "out.mkv") == []
    assert packets(tmp_path / "out.mkv") == packets(source)


def test_sound_that_nobody_knows_stops_nothing(tmp_path):
    source = write(tmp_path / "a.mkv", [pattern()] * 8, sound="libopus")
    source.write_bytes(source.read_bytes().replace(b"A_OPUS", b"A_ZZZZ"))
    assert copied(source, tmp_path / "out.mp4") == [f"{source}: its sound is of an unknown kind and is not copied"]
    assert count_frames(tmp_path / "out.mp4") == 8


@pytest.mark.parametrize("name", ["12:30:00.mp4", "http:x.mkv", "concat:a.mov", "data:x.avi", "http:/x.mp4"])
def test_a_colon_in_a_name_starts_no_protocol(tmp_path, monkeypatch, name):
    """A path as it is typed: absolute ones have never been taken for `protocol:address`."""
    monkeypatch.chdir(tmp_path)
    Path("http:").mkdir()
    write(Path("a.mp4"), [pattern()] * 3)
    assert copied(Path("a.mp4"), Path(name)) == []
    assert count_frames(Path(name)) == 3
