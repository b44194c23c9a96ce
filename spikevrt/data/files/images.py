"""Reads and writes pictures as 8-bit RGB."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from spikevrt.data.files.atomic import replacing
from spikevrt.data.files.listing import files_in
from spikevrt.errors import UserError

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
GREY_WEIGHTS = np.array([0.3, 0.59, 0.11], np.float32)
"""Weights of R, G and B in the brightness."""


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """Open a picture; an error becomes one `UserError` line."""
    try:
        with Image.open(path) as image:
            yield image
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: cannot be read as a picture ({error}); replace or remove it") from None


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read a picture as RGB (H,W,3); of 16-bit channels the upper 8 bits are kept, grey is copied to 3 channels.

    Raises:
        UserError: the file is missing, cannot be decoded, or holds 32-bit values.
    """
    with opened(path) as image:
        if image.mode.startswith("I;16"):
            # Pillow itself would clip values above 255.
            return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[..., None], 3, axis=2)
        if image.mode in ("I", "F"):
            raise ValueError("32-bit values, whose white is unknown")
        return np.asarray(image.convert("RGB"))


def to_grey(rgb: NDArray) -> NDArray[np.float32]:
    """(...,3) RGB -> (...) brightness on the same scale: 0.3 R + 0.59 G + 0.11 B."""
    return rgb.astype(np.float32) @ GREY_WEIGHTS


def image_size(path: Path) -> tuple[int, int]:
    """(H,W) of a picture; only its header is read."""
    with opened(path) as image:
        return image.height, image.width


def write_png(path: Path, image: NDArray[np.uint8]) -> None:
    """Write a picture (H,W,3) or (H,W) as PNG to exactly this path, completely or not at all."""
    with replacing(path) as temporary:
        Image.fromarray(image).save(temporary, "PNG", compress_level=1)


def picture_files(folder: Path) -> list[Path]:
    """The pictures of a folder, one a stem, in the order of their stems (see `files_in`)."""
    return files_in(folder, PICTURE_SUFFIXES)
