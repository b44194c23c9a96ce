"""Reads pictures as 8-bit RGB, and writes them with 8 or 16 bits."""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageDraw, ImageFont, ImageOps, TiffImagePlugin

from spikevrt.data.files.atomic import replacing
from spikevrt.data.files.listing import files_in
from spikevrt.errors import UserError, shown, warn

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
OTHER_ENDINGS = {*PICTURE_SUFFIXES, ".gif", ".pdf", ".svg"} - {".png"}
"""Endings that ask for something else than a PNG."""
GREY_WEIGHTS = np.array([0.3, 0.59, 0.11], np.float32)
"""Weights of R, G and B in the brightness."""
LYING = (5, 6, 7, 8)
"""EXIF orientations that are shown after a quarter turn."""
USUAL_GAMMA = 1 / 2.2
"""What a PNG's gamma chunk holds if its values mean what they mean everywhere."""
WHITE_IS_ZERO = 0
"""Value of a TIFF's PhotometricInterpretation."""
SMALLEST_TEXT, TEXT_LINES = 10, 20
"""Height of a text in a picture: at least so many pixels, and a picture as high as so many lines."""
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
DEPTH_AT = 24
"""Where a PNG says how many bits a channel has."""
COLOURED = 2
"""A PNG's type of RGB without transparency."""

_said: set[tuple[Path, str]] = set()
"""Folders and what this process has already said of a picture in them."""


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """Open a picture; an error becomes one `UserError` line."""
    try:
        with Image.open(path) as image:
            yield image
    # On damaged files, Pillow's decoders also raise what their parsers stumble over.
    except (
        OSError,
        SyntaxError,
        ValueError,
        TypeError,
        LookupError,
        EOFError,
        OverflowError,
        struct.error,
        Image.DecompressionBombError,
    ) as error:
        raise UserError(f"{path}: cannot be read as a picture ({error}); replace or remove it") from None


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read a picture as RGB (H,W,3), upright as its EXIF orientation says.

    Of 16-bit channels the upper 8 bits are kept, and grey is copied to 3 channels. What has no place in 8-bit RGB
    (transparency, colour profiles, further pages) is left out; one warning per folder and kind says so.

    Raises:
        UserError: the file is missing, cannot be decoded, or holds 32-bit values.
    """
    with opened(path) as image:
        for what in left_out(image):
            say_once(path, what)
        image.load()
        if orientation(image) != 1:
            ImageOps.exif_transpose(image, in_place=True)
        if image.mode.startswith("I;16"):
            # Pillow itself would clip values above 255.
            shift, white_is_zero = depth_of_grey(image)
            grey = (np.asarray(image) >> shift).astype(np.uint8)
            return np.repeat((255 - grey if white_is_zero else grey)[..., None], 3, axis=2)
        if image.mode in ("I", "F"):
            raise ValueError("32-bit values, whose white is unknown: convert it to 8 or 16 bits")
        if image.has_transparency_data:
            pixels = np.asarray(image.convert("RGBA"))
            if pixels[..., 3].min() < 255:
                say_once(path, "transparent pixels are read with the colours that are stored below them")
            return np.ascontiguousarray(pixels[..., :3])
        return np.asarray(image.convert("RGB"))


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 = upright, also where the EXIF data are damaged: the pixels need not be."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except (SyntaxError, ValueError, LookupError, struct.error):
        return 1


def left_out(image: Image.Image) -> Iterator[str]:
    """What a picture holds beside its pixels and `read_image` does not use, in words."""
    # Behind its first picture, an MPO of a phone holds previews and depth maps.
    pages = getattr(image, "n_frames", 1) if image.format != "MPO" else 1
    if pages > 1:
        yield f"only the first of its {pages} pictures is read"
    if image.mode == "CMYK":
        yield "CMYK is converted to RGB without a colour profile"
    elif profile := image.info.get("icc_profile"):
        if not any("sRGB".encode(coding) in profile for coding in ("ascii", "utf-16-be")):
            yield "its colour profile is not sRGB and is not applied: values are read as they are stored"
    elif "srgb" not in image.info and abs(image.info.get("gamma", USUAL_GAMMA) - USUAL_GAMMA) > 0.01:
        yield f"its gamma of {image.info['gamma']:.3g} is not applied: values are read as they are stored"


def depth_of_grey(image: Image.Image) -> tuple[int, bool]:
    """How 16-bit grey becomes 8 bits: by how many bits to shift, and whether 0 means white, as TIFF files may say."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return 8, False
    tags = image.tag_v2
    bits = tags.get(TiffImagePlugin.BITSPERSAMPLE, (16,))[0]
    return max(0, bits - 8), tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == WHITE_IS_ZERO


def say_once(path: Path, what: str) -> None:
    """Warn of one picture of a folder; others of which the same is true are not named."""
    if (path.parent, what) not in _said:
        _said.add((path.parent, what))
        warn(path, f"{what} (said once per folder)")


def to_grey(rgb: NDArray) -> NDArray[np.float32]:
    """(...,3) RGB -> (...) brightness on the same scale: 0.3 R + 0.59 G + 0.11 B."""
    return rgb.astype(np.float32) @ GREY_WEIGHTS


def image_size(path: Path) -> tuple[int, int]:
    """(H,W) of an upright picture, as `read_image` returns it; pixels are not decoded unless a PNG's EXIF needs it."""
    with opened(path) as image:
        width, height = image.size
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            # Whether Pillow has turned the size of a TIFF already depends on its version.
            width, height = (image.tag_v2[tag] for tag in (TiffImagePlugin.IMAGEWIDTH, TiffImagePlugin.IMAGELENGTH))
        return (width, height) if orientation(image) in LYING else (height, width)


def checked_size(path: Path) -> tuple[int, int]:
    """(H,W) of an upright picture; of a PNG it is checked that all of it is there, without decoding it.

    Raises:
        UserError: the picture is incomplete, or none.
    """
    size = image_size(path)
    with opened(path) as image:
        image.verify()
    return size


def png_depth(path: Path) -> int:
    """Bits a channel of a PNG that can be read; its header says so after the size."""
    with path.open("rb") as file:
        return file.read(DEPTH_AT + 1)[DEPTH_AT]


def write_png(path: Path, image: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    """Write a picture (H,W,3) or (H,W) as PNG to exactly this path, completely or not at all."""
    with replacing(path) as temporary:
        if image.dtype == np.uint16 and image.ndim == 3:
            temporary.write_bytes(deep_png(image))
        else:
            Image.fromarray(image).save(temporary, "PNG", compress_level=1)


def deep_png(image: NDArray) -> bytes:
    """A picture (H,W,3) uint16 as a PNG of 16 bits a channel, which Pillow does not write."""
    height, width, channels = image.shape
    rows = np.ascontiguousarray(image, ">u2").view(np.uint8).reshape(height, -1)
    # Bytes are stored as differences to the pixel on their left (filter 1), which compress better.
    lines = np.ones((height, 1 + rows.shape[1]), np.uint8)
    step = 2 * channels
    lines[:, 1 : 1 + step] = rows[:, :step]
    lines[:, 1 + step :] = rows[:, step:] - rows[:, :-step]
    header = struct.pack(">IIBBBBB", width, height, 16, COLOURED, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 1)), (b"IEND", b"")
    return PNG_SIGNATURE + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def with_text(image: NDArray[np.uint8], text: str) -> NDArray[np.uint8]:
    """A grey picture (H,W) with a line of text in its lower left corner, white with a black edge."""
    canvas = Image.fromarray(image)
    size = max(SMALLEST_TEXT, canvas.height // TEXT_LINES)
    font, edge = ImageFont.load_default(size), max(1, size // 10)
    place = (size // 2, canvas.height - size // 2)
    ImageDraw.Draw(canvas).text(place, text, 255, font, anchor="lb", stroke_width=edge, stroke_fill=0)
    return np.asarray(canvas)


def as_png(option: str, file: Path) -> Path:
    """The PNG that the value of an option names; `.png` is added to a name without an ending.

    What stands behind a dot is an ending only if it is one of a picture: `v1.5` becomes `v1.5.png`.

    Raises:
        UserError: it is another kind of picture.
    """
    if file.suffix.lower() in OTHER_ENDINGS:
        raise UserError(f"{option} {shown(str(file))}: must be a .png")
    return file if file.suffix.lower() == ".png" else file.with_name(f"{file.name}.png")


def picture_files(folder: Path) -> list[Path]:
    """The pictures of a folder, one a stem, in the order of their stems (see `files_in`)."""
    return files_in(folder, PICTURE_SUFFIXES)
