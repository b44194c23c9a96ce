"""Reads spikes from an `.npz`: an array (n,H,W) of 0 and 1, one byte per pixel, named `spk` or the only one.

Frames are read one after the other, so a compressed array is never in memory as a whole.
"""

import math
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from spikevrt.errors import UserError, reason_of, shown

ARRAY_NAME = "spk"
LARGEST_RATIO = 1040
"""No deflated byte becomes more bytes than some 1032."""


def is_array(path: Path) -> bool:
    """Whether a recording is an `.npz`, by its name."""
    return path.suffix.lower() == ".npz"


def array_shape(path: Path) -> tuple[int, int, int]:
    """(n,H,W) of the array; only its header is read.

    Raises:
        UserError: there is no such array, or it has another shape or type.
    """
    with opened_array(path) as (shape, _):
        return shape


def read_array(path: Path, frames: slice) -> NDArray[np.uint8]:
    """Read the frames `frames.start` .. `frames.stop` as uint8 (n,H*W); the values are not checked."""
    with array_reader(path) as read:
        return read(frames)


@contextmanager
def array_reader(path: Path) -> Iterator[Callable[[slice], NDArray[np.uint8]]]:
    """What `read_array` does, for many stretches of one file: those behind each other are unpacked only once."""
    with opened_array(path) as ((_, height, width), file):
        first = file.tell()

        def read(frames: slice) -> NDArray[np.uint8]:
            file.seek(first + frames.start * height * width)
            stored = np.empty((frames.stop - frames.start, height * width), np.uint8)
            for frame in stored:
                part = file.read(height * width)
                if len(part) < height * width:
                    raise EOFError("the array is cut short")
                frame[:] = np.frombuffer(part, np.uint8)
            return stored

        yield read


@contextmanager
def opened_array(path: Path) -> Iterator[tuple[tuple[int, int, int], IO[bytes]]]:
    """(n,H,W) of the array, and its member of the archive at the first value; all errors become `UserError` lines."""
    try:
        with zipfile.ZipFile(path) as archive:
            info = member(path, archive)
            with archive.open(info) as file:
                shape = read_header(path, file)
                require_values(path, shape, info, file.tell())
                yield shape, file
    except UserError:
        raise
    # A damaged archive makes zipfile, zlib and NumPy's reading of a header raise nearly anything.
    except Exception as error:
        raise unreadable(path, error) from None


def require_values(path: Path, shape: tuple[int, int, int], info: zipfile.ZipInfo, head: int) -> None:
    """Raise a `UserError` unless a member of the archive holds the values of `shape` after `head` bytes.

    It is called before memory is taken: header and directory of a damaged file may state any size.
    """
    stated, held = math.prod(shape), info.file_size - head
    if stated != held or info.file_size > LARGEST_RATIO * (info.compress_size + 1):
        raise UserError(
            f"{path}: its header says {shape[0]} frames of {shape[1]}x{shape[2]}, {stated} bytes, but {held} bytes "
            f"follow ({info.compress_size} in the file); it is damaged, fetch it again"
        )


def member(path: Path, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    """The spike array inside the archive."""
    arrays = [info for info in archive.infolist() if info.filename.endswith(".npy")]
    named = [info for info in arrays if info.filename == f"{ARRAY_NAME}.npy"] or arrays
    if len(named) != 1:
        found = ", ".join(info.filename.removesuffix(".npy") for info in arrays) or "none"
        raise UserError(
            f"{path}: holds the arrays {shown(found)}; spikes are an array called {ARRAY_NAME}, or the only one"
        )
    return named[0]


def read_header(path: Path, file: IO[bytes]) -> tuple[int, int, int]:
    """(n,H,W) from the header of an `.npy`; afterwards the file position is at the first value."""
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if len(shape) != 3 or min(shape) < 1 or dtype not in (np.dtype(np.uint8), np.dtype(bool)) or fortran:
        order = ", Fortran order" if fortran else ""
        raise UserError(
            f"{path}: holds {shown(str(dtype))} of shape {shown(shape)}{order}; spikes are (frames, "
            "height, width) of uint8 or bool in C order: save numpy.ascontiguousarray(spikes, numpy.uint8)"
        )
    return shape


def unreadable(path: Path, error: Exception) -> UserError:
    """The error for a file that is missing, damaged or not an archive."""
    try:
        size = path.stat().st_size
    except OSError:
        return UserError(f"{path}: no such spike file")
    return UserError(f"{path}: {size} bytes that do not read as an .npz ({reason_of(error)}); fetch it again")
