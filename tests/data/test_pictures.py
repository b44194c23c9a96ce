"""What pictures say about how to show them: orientation, depth, transparency, pages, colours."""

import struct
import warnings
import zlib
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from spikevrt.data.files.images import as_png, image_size, read_image, write_png
from spikevrt.data.files.video import count_frames, frame_names, read_frames
from spikevrt.errors import UserError
from tests.small_videos import STORED, exif

BITS, PHOTOMETRIC = 258, 262
LOSSLESS = {".png": {}, ".jpg": {"quality": 100, "subsampling": 0}, ".webp": {"lossless": True}, ".tif": {}}


@pytest.fixture
def upright():
    picture = np.full((16, 24, 3), 60, np.uint8)
    picture[:8, :8] = (255, 0, 0)
    picture[8:, 16:] = (0, 0, 255)
    return picture


@pytest.mark.parametrize("suffix", LOSSLESS)
@pytest.mark.parametrize("orientation", STORED)
def test_pictures_are_read_upright(tmp_path, upright, orientation, suffix):
    path = tmp_path / f"a{suffix}"
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
    stored.save(path, exif=exif(orientation), **LOSSLESS[suffix])
    found = read_image(path)
    assert found.shape == upright.shape
    assert np.abs(found.astype(int) - upright).max() < 8
    assert image_size(path) == upright.shape[:2]
    assert np.array_equal(next(read_frames(path)), found), "a single picture is a source of one frame"
    assert (count_frames(path), frame_names(path)) == (1, ["a"])


def test_sixteen_bits_are_turned_too(tmp_path):
    grey = np.arange(0, 65536, 997, dtype=np.uint16).reshape(6, 11)
    Image.fromarray(np.rot90(grey).copy()).save(tmp_path / "a.png", exif=exif(6))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[..., 0], grey >> 8)
    assert image_size(tmp_path / "a.png") == (6, 11)


@pytest.mark.parametrize("damage", [b"garbage", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff" + b"\1" * 30])
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_data_cost_no_pixels(tmp_path, upright, suffix, damage):
    path = tmp_path / f"a{suffix}"
    Image.fromarray(upright).save(path, exif=b"Exif\0\0" + damage, **LOSSLESS[suffix])
    assert np.abs(read_image(path).astype(int) - upright).max() < 8
    assert image_size(path) == upright.shape[:2]


@pytest.mark.parametrize("size", [(6, 9), (1, 1), (5, 1)])
def test_sixteen_bits_are_written(tmp_path, size):
    picture = np.random.default_rng(0).integers(0, 65536, (*size, 3), dtype=np.uint16)
    write_png(tmp_path / "a.png", picture.swapaxes(0, 1).copy().swapaxes(0, 1))
    with av.open(str(tmp_path / "a.png")) as container:
        frame = next(container.decode(video=0))
    assert frame.format.name == "rgb48be"
    np.testing.assert_array_equal(frame.to_ndarray(), picture)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), picture >> 8)
    assert image_size(tmp_path / "a.png") == size


def quantised(picture, transparent):
    return Image.fromarray(picture).quantize(8), {"transparency": 0} if transparent else {}


@pytest.mark.parametrize(
    ("make", "suffix", "line"),
    [
        (lambda x: (Image.fromarray(x).convert("1"), {}), ".png", None),
        (lambda x: (Image.fromarray(x).convert("LA"), {}), ".png", None),
        (lambda x: quantised(x, False), ".png", None),
        (lambda x: quantised(x, True), ".png", "transparent pixels"),
        (lambda x: (Image.fromarray(np.dstack([x, x[..., 0]])), {}), ".png", "transparent pixels"),
        (lambda x: (Image.fromarray(np.dstack([x, x[..., 0]])), {}), ".tif", "transparent pixels"),
        (lambda x: (Image.fromarray(x), {"transparency": (255, 0, 0)}), ".png", "transparent pixels"),
        (lambda x: (Image.fromarray(x).convert("RGBA"), {}), ".png", None),
        (lambda x: (Image.fromarray(x).convert("CMYK"), {"quality": 100}), ".jpg", "CMYK"),
        (lambda x: (Image.fromarray(x), {"icc_profile": b"Display P3"}), ".png", "colour profile"),
        (lambda x: (Image.fromarray(x), {"icc_profile": "sRGB IEC61966".encode("utf-16-be")}), ".png", None),
        (lambda x: several(x), ".png", "only the first of its 2 pictures"),
        (lambda x: several(x), ".tif", "only the first of its 2 pictures"),
        (lambda x: (several(x)[0], {**several(x)[1], "lossless": True}), ".webp", "only the first of its 2 pictures"),
        (lambda x: (several(x)[0], {**several(x)[1], "format": "MPO", **LOSSLESS[".jpg"]}), ".jpg", None),
    ],
    ids=(
        *("1-bit", "grey-alpha", "palette", "palette-transparent", "rgba", "rgba-tiff", "colour-key", "opaque"),
        *("cmyk", "p3", "srgb", "apng", "pages", "webp", "mpo"),
    ),
)
def test_what_has_no_place_in_rgb_is_named_once(tmp_path, upright, make, suffix, line):
    picture, options = make(upright)
    paths = [tmp_path / f"{name}{suffix}" for name in "ab"]
    for path in paths:
        picture.save(path, **options)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found, _ = (read_image(path) for path in paths)
    expected = np.asarray(Image.fromarray(upright).convert(picture.mode if picture.mode in "1LA" else "RGB"))
    assert np.abs(found.astype(int) - (to_rgb(expected))).max() < 45, "the palette of quantize() is an approximation"
    assert [line in str(warning.message) for warning in said] == ([] if line is None else [True])
    if line is not None:
        assert str(said[0].message).startswith(str(paths[0]))


def to_rgb(x):
    x = x * np.uint8(255) if x.dtype == bool else x
    return np.repeat(x[..., :1], 3, 2) if x.ndim == 3 and x.shape[2] == 2 else np.atleast_3d(x)


def several(picture):
    other = Image.fromarray(picture[::-1].copy())
    return Image.fromarray(picture), {"save_all": True, "append_images": [other]}


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of_sixteen_bits(path, values, *chunks):
    """Pillow writes no 16-bit colour."""
    H, W = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", W, H, 16, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", head), *chunks, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def test_colours_of_sixteen_bits_keep_their_upper_half(tmp_path):
    values = np.random.default_rng(0).integers(0, 65536, (5, 7, 3), dtype=np.uint16)
    png_of_sixteen_bits(tmp_path / "a.png", values)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), values >> 8)


def test_a_gamma_that_is_not_applied_is_named(tmp_path):
    values = np.zeros((2, 2, 3), np.uint16)
    png_of_sixteen_bits(tmp_path / "usual.png", values, chunk(b"gAMA", struct.pack(">I", 45455)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_image(tmp_path / "usual.png")
    png_of_sixteen_bits(tmp_path / "linear.png", values, chunk(b"gAMA", struct.pack(">I", 100000)))
    with pytest.warns(UserWarning, match=r"linear\.png: its gamma of 1 is not applied"):
        read_image(tmp_path / "linear.png")


def test_grey_of_a_tiff_may_count_from_white(tmp_path):
    grey = np.arange(0, 65536, 997, dtype=np.uint16).reshape(6, 11)
    Image.fromarray(grey).save(tmp_path / "a.tif", tiffinfo={PHOTOMETRIC: 0})
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif")[..., 0], 255 - (grey >> 8))


def test_grey_of_twelve_bits_is_not_dark(tmp_path):
    """Two pixels in three bytes: 0xFFF and 0x800."""
    tags = [(256, 2), (257, 1), (BITS, 12), (259, 1), (PHOTOMETRIC, 1), (273, 8), (277, 1), (278, 1), (279, 3)]
    entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in tags)
    head = b"II*\0" + struct.pack("<I", 12) + b"\xff\xf8\x00\0"
    (tmp_path / "a.tif").write_bytes(head + struct.pack("<H", len(tags)) + entries + bytes(4))
    assert read_image(tmp_path / "a.tif")[0, :, 0].tolist() == [255, 128]


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_values_whose_white_is_unknown_are_refused(tmp_path, kind):
    Image.fromarray(np.ones((6, 9), kind)).save(tmp_path / "a.tif")
    with pytest.raises(UserError, match=r"a\.tif: cannot be read as a picture \(32-bit .* to 8 or 16 bits\)"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("name", "png"),
    [
        ("a.png", "a.png"),
        ("a.PNG", "a.PNG"),
        ("v1.5", "v1.5.png"),
        ("scores", "scores.png"),
        ("x/run.lr=1e-4", "x/run.lr=1e-4.png"),
    ],
)
def test_a_picture_keeps_its_name(name, png):
    assert as_png("--picture", Path(name)) == Path(png)


def test_a_picture_of_another_kind_is_refused():
    with pytest.raises(UserError, match=r"--picture v1\.5\.jpg: must be a \.png"):
        as_png("--picture", Path("v1.5.jpg"))
