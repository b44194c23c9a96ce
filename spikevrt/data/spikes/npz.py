"""Reads spikes from an `.npz`: an array (n,H,W) of 0 and 1, one byte per pixel, named `spk` or the only one.

Frames are read one after the other, so a compressed array is never in memory as a whole.
"""

import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from spikevrt.errors import UserError

ARRAY_NAME = "spk"
READ_ERRORS = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
    NotImplementedError,
    RuntimeError,
)


def array_shape(path: Path) -> tuple[int, int, int]:
    """(n,H,W) of the array; only its header is read.

    Raises:
        UserError: there is no such array, or it has another shape or type.
    """
    try:
        with zipfile.ZipFile(path) as archive, archive.open(member(path, archive)) as file:
            return read_header(path, file)
    except READ_ERRORS as error:
        raise unreadable(path, error) from None


def read_array(path: Path, frames: slice) -> NDArray[np.uint8]:
    """Read the frames `frames.start` .. `frames.stop` as uint8 (n,H*W); the values are not checked."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(member(path, archive)) as file:
            _, height, width = read_header(path, file)
            file.seek(file.tell() + frames.start * height * width)
            count = frames.stop - frames.start
            stored = np.empty((count, height * width), np.uint8)
            for frame in stored:
                part = file.read(height * width)
                if len(part) < height * width:
                    raise EOFError("the array is cut short")
                frame[:] = np.frombuffer(part, np.uint8)
            return stored
    except READ_ERRORS as error:
        raise unreadable(path, error) from None


def member(path: Path, archive: zipfile.ZipFile) -> str:
    """The name of the spike array inside the archive."""
    names = [name for name in archive.namelist() if name.endswith(".npy")]
    if f"{ARRAY_NAME}.npy" in names:
        return f"{ARRAY_NAME}.npy"
    if len(names) != 1:
        found = ", ".join(Path(name).stem for name in names) or "none"
        raise UserError(f"{path}: holds the arrays {found}; spikes are an array called {ARRAY_NAME}, or the only one")
    return names[0]


def read_header(path: Path, file: IO[bytes]) -> tuple[int, int, int]:
    """(n,H,W) from the header of an `.npy`; afterwards the file position is at the first value."""
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if len(shape) != 3 or min(shape) < 1 or dtype not in (np.dtype(np.uint8), np.dtype(bool)) or fortran:
        order = ", Fortran order" if fortran else ""
        raise UserError(
            f"{path}: holds {dtype} of shape {tuple(shape)}{order}; spikes are (frames, height, width) of uint8 or bool"
        )
    return shape


def unreadable(path: Path, error: Exception) -> UserError:
    """The error for a file that is missing, damaged or not an archive."""
    if not path.is_file():
        return UserError(f"{path}: no such spike file")
    return UserError(f"{path}: {path.stat().st_size} bytes that do not read as an .npz ({error}); fetch it again")
