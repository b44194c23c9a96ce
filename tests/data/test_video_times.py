"""The times of a video's frames are read from its packets, and are those that decoding gives."""

import struct

import av
import numpy as np
import pytest

from spikevrt.data.files import video_decoding
from spikevrt.data.files.video import count_frames, frame_times
from spikevrt.data.files.video_decoding import decoded, packet_stamps, time_stamps
from tests.small_videos import GAP, pattern, write

OUT_OF_ORDER = {"pix": "yuv420p", "options": {"bf": "2", "x264-params": "keyint=12:b-adapt=0:scenecut=0:open-gop=1"}}
SECOND_KEY = 10
"""Number of the packet of its second key frame; what follows holds frames that are shown before it, and need others."""
INTERLACED = {"pix": "yuv420p", "options": {"flags": "+ilme+ildct", "x264-params": "tff=1"}}
COUNT = 24


def video(path, **how):
    return write(path, [np.roll(pattern(shade=8 * i), 3 * i, 1) for i in range(COUNT)], **how)


def copied(path, dropped=()):
    """The packets of a video whose frames are coded out of order, but those with some numbers from 0."""
    source = video(path.with_name("source.mp4"), **OUT_OF_ORDER)
    with av.open(str(source)) as container, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(container.streams.video[0])
        for number, packet in enumerate(container.demux(video=0)):
            if packet.dts is not None and number not in dropped:
                packet.stream = stream
                out.mux(packet)
    return path


def edited(path, first, count):
    """The same video with an edit list that shows `count` frames from the one numbered `first`."""
    data = bytearray(video(path, **OUT_OF_ORDER).read_bytes())
    entry = data.index(b"elst") + struct.calcsize(">4sII")
    shown, start = struct.unpack_from(">Ii", data, entry)
    with av.open(str(path)) as container:
        frame = round(1 / (25 * container.streams.video[0].time_base))
    struct.pack_into(">Ii", data, entry, shown * count // COUNT, start + first * frame)
    path.write_bytes(data)
    return path


KINDS = {
    "plain": (lambda folder: video(folder / "a.mp4"), COUNT, True),
    "uneven": (lambda folder: write(folder / "a.mkv", [pattern()] * len(GAP), GAP), len(GAP), True),
    "out-of-order": (lambda folder: copied(folder / "a.mp4"), COUNT, True),
    "matroska": (lambda folder: copied(folder / "a.mkv"), COUNT, True),
    "transport-stream": (lambda folder: copied(folder / "a.ts"), COUNT, True),
    "gap": (lambda folder: copied(folder / "a.mkv", (4, 5, 14)), COUNT - 3, True),
    "edit-start": (lambda folder: edited(folder / "a.mp4", 5, COUNT - 5), COUNT - 5, True),
    "edit-end": (lambda folder: edited(folder / "a.mp4", 0, 9), 9, True),
    "edit-both": (lambda folder: edited(folder / "a.mp4", 15, 6), 6, True),
    "cut-mp4": (lambda folder: copied(folder / "a.mp4", range(SECOND_KEY)), 12, True),
    "cut-mkv": (lambda folder: copied(folder / "a.mkv", range(SECOND_KEY)), 12, False),
    "hevc": (lambda folder: video(folder / "a.mp4", codec="libx265", options={}), COUNT, True),
    "vp9": (lambda folder: video(folder / "a.webm", codec="libvpx-vp9", options={"auto-alt-ref": "1"}), COUNT, True),
    "vp8": (lambda folder: video(folder / "a.webm", codec="libvpx", pix="yuv420p", options={}), COUNT, False),
    "mpeg4": (lambda folder: video(folder / "a.avi", codec="mpeg4", pix="yuv420p"), COUNT, False),
    "interlaced": (lambda folder: video(folder / "a.mp4", **INTERLACED), COUNT, False),
}
"""How a video is made, how many frames it shows, and whether its packets alone tell their times."""


@pytest.mark.parametrize(
    ("make", "count", "told"),
    KINDS.values(),
    ids=KINDS,
)
def test_packets_tell_what_decoding_gives(tmp_path, make, count, told):
    path = make(tmp_path)
    expected = [frame.pts for frame in decoded(path)]
    assert len(expected) == count
    assert time_stamps(path) == expected
    assert (packet_stamps(path) is not None) == told


def test_counting_decodes_one_frame(tmp_path, monkeypatch):
    path, taken = video(tmp_path / "a.mp4"), []

    def noted(path):
        for frame in decoded(path):
            taken.append(frame.pts)
            yield frame

    monkeypatch.setattr(video_decoding, "decoded", noted)
    assert count_frames(path) == len(frame_times(path).times) == COUNT
    assert taken == [0, 0]
