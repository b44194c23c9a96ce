"""What videos say about how to show them is followed, or named: turns, times, colours, streams, damage."""

import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

import spikevrt
from spikevrt.config import DataConfig, RecordingConfig
from spikevrt.data.clips.clip import find_clips
from spikevrt.data.clips.dataset import ClipDataset
from spikevrt.data.files.images import read_image
from spikevrt.data.files.video import (
    count_frames,
    exactly,
    frame_times,
    read_frames,
    warn_of_pixel_aspect,
)
from spikevrt.data.simulation.camera import write_geometry
from spikevrt.errors import UserError
from spikevrt.prepare import main as prepare
from spikevrt.restoration.sources import recording_source
from spikevrt.simulate import main as simulate
from tests.small_videos import EVEN, GAP, ONE, SIZE, STORED, display_matrix, exif, lines, pattern, write


@pytest.mark.parametrize("orientation", STORED)
def test_videos_are_read_upright(tmp_path, orientation):
    path = tmp_path / "a.mp4"
    write(path, [STORED[orientation](pattern())] * 2, matrix=display_matrix(orientation))
    found = list(read_frames(path))
    assert found[0].shape == (*SIZE, 3)
    assert np.abs(found[0].astype(int) - pattern()).max() < 8


@pytest.mark.parametrize("kind", ["video", "pictures"])
def test_data_sets_are_made_and_read_upright(tmp_path, kind):
    """A phone held upright: whatever is stored lying, training gets standing, from the cache of pictures too."""
    stored, source = STORED[6](pattern((64, 48))), tmp_path / "phone"
    if kind == "video":
        source = write(tmp_path / "phone.mp4", [stored] * 12, matrix=display_matrix(6))
    for number in range(12) if kind == "pictures" else ():
        source.mkdir(exist_ok=True)
        Image.fromarray(np.ascontiguousarray(stored)).save(source / f"{number}.png", exif=exif(6))
    options = ["--factor", "2", "--exposure", "2", "--stride", "2", "--train", "1", "--val", "0"]
    assert prepare(["video", str(source), "--out", str(tmp_path / "data"), *options]) == 0
    clip = tmp_path / "data" / "train" / "phone"
    for path in (clip / "sharp").iterdir():
        assert np.abs(read_image(path).astype(int) - pattern((64, 48))).max() < 8
        turned = Image.fromarray(np.ascontiguousarray(STORED[6](read_image(path))))
        turned.save(path, exif=exif(6))
    assert prepare(["check", str(tmp_path / "data"), "--opts", "DATA.CLIP_LEN=2"]) == 0
    data = DataConfig(root=str(tmp_path / "data"), clip_len=2, k=2, ram_cache_gb=0.01)
    (found,) = find_clips(data, "train")
    assert found.frame_size == (64, 48)
    dataset = ClipDataset(data, "train", augment=True, use_spike=True, crop=48)
    for _ in range(2):
        assert dataset[0]["sharp"].shape == (2, 3, 48, 48)
    assert dataset.ram.used > 0


def test_an_angle_between_is_named(tmp_path):
    write(tmp_path / "a.mp4", [pattern()], matrix=[ONE, ONE, 0, -ONE, ONE, 0, 0, 0, 1 << 30])
    with pytest.warns(UserWarning, match=r"a\.mp4: is to be shown turned by an angle that is no multiple of 90"):
        assert next(read_frames(tmp_path / "a.mp4")).shape == (*SIZE, 3)


def test_stretched_pixels_are_named_where_pictures_are_written(tmp_path):
    write(tmp_path / "a.mp4", [pattern()], sample_aspect_ratio=Fraction(16, 15))
    assert lines(lambda: warn_of_pixel_aspect(tmp_path / "a.mp4")) == [
        f"{tmp_path}/a.mp4: its pixels are 16:15, not square; pictures hold them unstretched"
    ]
    write(tmp_path / "b.mp4", [pattern()])
    assert lines(lambda: warn_of_pixel_aspect(tmp_path / "b.mp4")) == []


def test_who_takes_frames_as_even_says_so(tmp_path):
    uneven = write(tmp_path / "a.mp4", [pattern()] * len(GAP), GAP)
    line = f"{uneven}: its frames are 0.04 to 1 s apart; they are taken as evenly spaced"
    assert lines(lambda: count_frames(uneven)) == [line]
    assert lines(lambda: simulate([str(uneven), "--out", str(tmp_path / "spikes")])) == [line]
    even = write(tmp_path / "b.mkv", [pattern()] * 8, [0, 33, 67, 100, 133, 167, 200, 233])
    assert lines(lambda: count_frames(even)) == [], "a file may round its times"


def test_a_stream_without_time_stamps_is_even_and_named(tmp_path):
    frames = [pattern(shade=20 * i) for i in range(8)]
    write(tmp_path / "a.h264", frames)
    found = []
    said = lines(lambda: found.append(frame_times(tmp_path / "a.h264")))
    assert (found[0].count, found[0].times) == (8, ())
    assert said == [f"{tmp_path}/a.h264: has frames without time stamps; they are taken as evenly spaced, 25 a second"]


@pytest.mark.parametrize(
    ("times", "starts"), [(GAP, [0, 40, 80, 120, 1120, 1160, 1200, 1240]), (EVEN, range(0, 320, 40))]
)
def test_exposures_of_a_continuous_recording_start_when_their_frames_do(tmp_path, times, starts):
    video, spikes = write(tmp_path / "a.mp4", [pattern()] * len(times), times), recording(tmp_path / "spikes")
    data = DataConfig(recording=RecordingConfig("continuous", spike_rate=1000.0, frame_rate=25.0))
    sources = []
    said = lines(lambda: sources.append(recording_source(video, spikes, data)))
    exposures = list(sources[0].spikes.exposures.values())
    assert [exposure.start for exposure in exposures] == list(starts)
    assert [exposure.stop for exposure in exposures] == [*starts[1:], starts[-1] + 40]
    assert len(said) == (times is GAP), "that its time stamps are followed"


def recording(folder):
    """1280 spike frames of 24 x 32 pixels."""
    folder.mkdir()
    (folder / "recording.dat").write_bytes(bytes(1280 * 24 * 32 // 8))
    write_geometry(folder, "recording", (24, 32))
    return folder


def test_a_frame_rate_that_is_not_the_video_s_is_named(tmp_path):
    video, spikes = write(tmp_path / "a.mp4", [pattern()] * len(EVEN), EVEN), recording(tmp_path / "spikes")
    data = DataConfig(recording=RecordingConfig("continuous", spike_rate=1000.0, frame_rate=30.0))
    line = f"{video}: has 25 frames a second; DATA.RECORDING.FRAME_RATE=30 is used"
    assert lines(lambda: recording_source(video, spikes, data)) == [line]


def test_frames_without_a_spike_frame_between_them_are_one_line(tmp_path):
    video = write(tmp_path / "a.mp4", [pattern()] * 5, [0, 1, 41, 81, 121])
    data = DataConfig(recording=RecordingConfig("continuous", spike_rate=250.0, frame_rate=25.0))
    with (
        pytest.raises(UserError, match="no spike frame from RGB frame 0 to the next; set LENGTH"),
        pytest.warns(UserWarning, match="unevenly spaced"),
    ):
        recording_source(video, recording(tmp_path / "spikes"), data)


def test_the_remedy_for_a_missing_package_exists(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "a.mp4").write_bytes(b"")
    with pytest.raises(UserError, match=r"video files need PyAV: pip install av$"):
        next(read_frames(tmp_path / "a.mp4"))
    for path in Path(spikevrt.__file__).parent.rglob("*.py"):
        assert "install 'spikevrt" not in path.read_text("utf-8"), "this project is on no index"


@pytest.mark.parametrize(
    ("size", "context"),
    [
        (SIZE, {"colorspace": 1, "color_range": 1}),
        (SIZE, {"colorspace": 5, "color_range": 1}),
        (SIZE, {"colorspace": 9, "color_range": 1}),
        (SIZE, {"colorspace": 1, "color_range": 2, "pix": "yuvj420p"}),
        (SIZE, {"colorspace": 5, "color_range": 2, "pix": "yuvj420p"}),
        (SIZE, {"colorspace": 9, "color_range": 1, "pix": "yuv420p10le"}),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else "",
)
@pytest.mark.filterwarnings("ignore:.* has 10 bits a channel")
def test_the_stated_matrix_and_range_are_used(tmp_path, size, context):
    flat = np.full((*size, 3), (200, 30, 90), np.uint8)
    write(tmp_path / "a.mp4", [flat], **context)
    assert np.abs(next(read_frames(tmp_path / "a.mp4")).astype(int) - flat).max() <= 4


def write_frame(path, frame):
    """Write a frame with the tags that it has."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=24)
        stream.height, stream.width, stream.pix_fmt = frame.height, frame.width, frame.format.name
        stream.codec_context.colorspace = frame.colorspace
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.parametrize(("size", "matrix"), [((720, 1280), 1), ((576, 720), 5), ((1280, 720), 1)], ids=str)
def test_untagged_video_is_read_as_players_do(tmp_path, size, matrix):
    """The luma of green is 173 in BT.709 and 145 in BT.601."""
    flat = np.full((*size, 3), (0, 255, 0), np.uint8)
    frame = av.VideoFrame.from_ndarray(flat, format="rgb24").reformat(
        format="yuv420p", src_color_range="JPEG", dst_color_range="MPEG", dst_colorspace=matrix
    )
    frame.colorspace, frame.color_range = 2, 0
    write_frame(tmp_path / "a.mkv", frame)
    assert np.abs(next(read_frames(tmp_path / "a.mkv")).astype(int) - flat).max() <= 4


def test_colours_that_cannot_be_converted_are_one_line(tmp_path):
    frame = av.VideoFrame.from_ndarray(np.zeros((3, 16, 16), np.uint8), format="yuv444p")
    frame.colorspace = 8
    write_frame(tmp_path / "a.mkv", frame)
    with pytest.raises(UserError, match=r"a\.mkv: colours of this kind \(yuv444p, matrix 8\) cannot be read; convert"):
        next(read_frames(tmp_path / "a.mkv"))


@pytest.mark.parametrize(
    ("context", "line"),
    [
        ({"pix": "yuv420p10le"}, "has 10 bits a channel, of which frames keep the upper 8"),
        ({"pix": "yuv420p10le", "color_trc": 16, "colorspace": 9, "color_range": 1}, r"is HDR \(PQ\)"),
        ({"pix": "yuv420p10le", "color_trc": 18, "colorspace": 9, "color_range": 1}, r"is HDR \(HLG\)"),
        ({"pix": "yuva420p", "codec": "ffv1"}, "has an alpha channel"),
        ({"options": {"flags": "+ilme+ildct", "x264-params": "tff=1"}, "pix": "yuv420p"}, "is interlaced"),
    ],
    ids=["deep", "pq", "hlg", "alpha", "interlaced"],
)
@pytest.mark.filterwarnings("ignore:.* has 10 bits a channel")
def test_what_rgb_does_not_show_is_named(tmp_path, context, line):
    write(tmp_path / "a.mkv", [pattern()] * 2, **context)
    with pytest.warns(UserWarning, match=rf"a\.mkv: {line}"):
        list(read_frames(tmp_path / "a.mkv"))


def several_streams(path, dispositions, codec, pix):
    """Video streams of 48 x 64, 48 x 96, ... pixels, beside sound."""
    with av.open(str(path), "w") as container:
        streams = [container.add_stream(codec, rate=25) for _ in dispositions]
        audio = container.add_stream("aac", rate=48000, layout="stereo")
        for number, (stream, disposition) in enumerate(zip(streams, dispositions, strict=True)):
            stream.height, stream.width, stream.pix_fmt = 48, 64 + 32 * number, pix
            stream.disposition = disposition
        for number, stream in enumerate(streams):
            frame = np.zeros((48, 64 + 32 * number, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
        block = av.AudioFrame.from_ndarray(np.zeros((1, 2048), np.int16), "s16", "stereo")
        block.sample_rate = 48000
        container.mux(audio.encode(block))
        container.mux(audio.encode())
    return path


def test_a_cover_picture_is_no_video(tmp_path):
    cover = several_streams(tmp_path / "song.mp4", [av.stream.Disposition.attached_pic], "mjpeg", "yuvj420p")
    with pytest.raises(UserError, match=r"song\.mp4: holds no video stream; name a video file"):
        list(read_frames(cover))


def test_the_default_of_several_streams_is_read_and_named(tmp_path):
    dispositions = [av.stream.Disposition(0), av.stream.Disposition.default]
    path = several_streams(tmp_path / "a.mkv", dispositions, "mpeg4", "yuv420p")
    with pytest.warns(UserWarning, match=r"a\.mkv: holds 2 video streams; stream 1 is read"):
        assert [frame.shape for frame in read_frames(path)] == [(48, 96, 3)]


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_a_video_that_is_cut_off_is_not_taken_as_whole(tmp_path, suffix):
    path = write(tmp_path / f"a{suffix}", [pattern(shade=8 * i) for i in range(30)])
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 5])
    if suffix == ".mp4":
        with pytest.raises(UserError, match=r"a\.mp4: cannot be decoded as video"):
            count_frames(path)
        return
    with pytest.warns(UserWarning, match=r"a\.mkv: ends after 0\.\d+ of 1\.2\d s, it is not whole: fetch it again"):
        assert count_frames(path) < 30


@pytest.mark.parametrize("count", [2, 4])
def test_a_source_that_changes_between_two_readings_is_an_error(tmp_path, count):
    with pytest.raises(UserError, match=rf"a\.mp4: had {count} frames when it was read first, and not now"):
        list(exactly(iter([1, 2, 3]), count, tmp_path / "a.mp4"))
    assert list(exactly(iter([1, 2, 3]), 3, tmp_path)) == [1, 2, 3]
