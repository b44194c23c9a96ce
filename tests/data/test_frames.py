"""Reading and writing pictures and videos."""

from contextlib import suppress
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from spikevrt.data.files.atomic import new_folder, replacing, umask
from spikevrt.data.files.images import image_size, picture_files, read_image, write_png
from spikevrt.data.files.listing import natural_order
from spikevrt.data.files.video import count_frames, frame_names, frame_times, read_frames
from spikevrt.data.files.video_writing import video_writer
from spikevrt.errors import UserError


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def test_png_comes_back_and_hidden_files_stay_out(tmp_path, image):
    for name in ("10", "9", "b.1", "B"):
        write_png(tmp_path / f"{name}.png", image)
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("")
    np.testing.assert_array_equal(read_image(tmp_path / "9.png"), image)
    assert [p.name for p in picture_files(tmp_path)] == ["B.png", "b.1.png", "9.png", "10.png"]
    assert frame_names(tmp_path) == ["B", "b.1", "9", "10"]
    assert len(list(read_frames(tmp_path))) == 4


def test_numbers_in_names_count_as_numbers():
    names = ["f10", "f9", "f9b", "a", "f010x2", "f010x10"]
    assert sorted(names, key=natural_order) == ["a", "f9", "f9b", "f10", "f010x2", "f010x10"]


def test_a_picture_that_does_not_decode_is_named(tmp_path, image):
    path = tmp_path / "broken.png"
    path.write_bytes(b"not a picture")
    with pytest.raises(UserError, match=r"broken\.png: cannot be read as a picture"):
        read_image(path)
    write_png(tmp_path / "cut.png", np.tile(image, (20, 20, 1)))
    whole = (tmp_path / "cut.png").read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"broken\.png: cannot be read as a picture"):
        read_image(path)


def test_grey_of_sixteen_bits_keeps_its_bright_half(tmp_path):
    grey = np.arange(0, 65536, 997, dtype=np.uint16).reshape(6, 11)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png"), np.stack([grey // 256] * 3, 2))


def test_floats_are_no_picture(tmp_path):
    Image.fromarray(np.ones((6, 9), np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(UserError, match=r"float\.tif: cannot be read as a picture \(32-bit values, whose white is"):
        read_image(tmp_path / "float.tif")


def test_a_picture_too_large_to_be_one_is_refused(tmp_path, image, monkeypatch):
    write_png(tmp_path / "large.png", image)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(UserError, match=r"large\.png: cannot be read as a picture"):
        image_size(tmp_path / "large.png")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: None, "no such video or folder"),
        (lambda p: p.mkdir(), "holds no pictures"),
        (lambda p: p.write_bytes(b"nothing"), "cannot be decoded as video"),
    ],
)
def test_a_source_without_frames_is_named(tmp_path, make, message):
    path = tmp_path / "source.mp4"
    make(path)
    with pytest.raises(UserError, match=rf"source\.mp4: {message}"):
        list(read_frames(path))


@pytest.mark.parametrize("size", [(32, 48), (33, 47)], ids=["even", "odd"])
def test_a_video_comes_back(tmp_path, size):
    path = tmp_path / "a.mp4"
    ramp = np.linspace(0, 200, size[1])[None, :, None]
    frames = [np.broadcast_to(ramp + 5 * t, (*size, 3)).round().astype(np.uint8) for t in range(8)]
    with video_writer(path, 30000 / 1001) as write:
        for frame in frames:
            write(frame)
    found = list(read_frames(path))
    assert len(found) == count_frames(path) == 8
    assert frame_times(path).rate == Fraction(30000, 1001)
    assert frame_names(path) is None
    for a, b in zip(found, frames, strict=True):
        assert a.shape == b.shape
        assert np.abs(a.astype(int) - b).mean() < 6


def test_nothing_half_written_stays(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_text("old")
    with suppress(KeyError), video_writer(path, 24) as write:
        write(np.zeros((16, 16, 3), np.uint8))
        raise KeyError
    assert path.read_text() == "old"
    with suppress(KeyError), replacing(tmp_path / "b.txt") as temporary:
        temporary.write_text("half")
        raise KeyError
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_a_folder_is_whole_or_not_there(tmp_path):
    target = tmp_path / "deep" / "clip"
    with suppress(KeyError), new_folder(target) as temporary:
        (temporary / "half").write_text("")
        raise KeyError
    assert list(target.parent.iterdir()) == []
    with new_folder(target) as temporary:
        (temporary / "all").write_text("")
        assert not target.exists()
    assert [p.name for p in target.iterdir()] == ["all"]
    assert target.stat().st_mode & 0o777 == 0o777 & ~umask()
    with pytest.raises(OSError, match="clip"), new_folder(target):
        pass
    assert [p.name for p in target.parent.iterdir()] == ["clip"], "what is there stays, and nothing beside it"
