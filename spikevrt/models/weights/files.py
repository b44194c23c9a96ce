"""Reads the dictionary in a file of weights without running code of the file, or says why it is not read."""

import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spikevrt.errors import UserError, reason_of
from spikevrt.models.weights.digest import ZIP_START, DamagedFileError, check_content
from spikevrt.models.weights.exported import state_of
from spikevrt.weights import SHIPPED, weights_file

SAVE_AGAIN = "save it again with torch.save(model.state_dict(), ...)"
PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"(\xb5/\xfd": "zstd", b"7z\xbc\xaf": "7z"}
"""First bytes of compressed files."""
WEB_PAGE = (b"<!doctype", b"<html", b"<head", b"<?xml")
HEAD_BYTES = 512
TAR_MARK = slice(257, 262)
OLD_TAR_MEMBERS = (b"sys_info\0", b"pickle\0", b"storages\0", b"tensors\0")
NUMPY_SCALARS = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
"""What a pickled NumPy number calls, before and since NumPy 2."""


def read_state(path: str | Path) -> dict[str, Any]:
    """Read the dictionary in a `.pth`, `.pt` or `.safetensors` file to the CPU; the content, not the name, decides.

    The name of weights of `SHIPPED` stands for their file.

    Objects of classes that PyTorch does not know to be safe are replaced by a `StandIn`, NumPy numbers by plain ones.

    Raises:
        DamagedFileError: the content is not what was written, or is no file of weights.
        UserError: the file is missing or may not be read.
    """
    path = weights_file(path)
    if path.is_dir():
        raise UserError(f"checkpoint {path}: is a folder; name a .pt, .pth or .safetensors file in it")
    if not path.is_file():
        names = " or ".join(SHIPPED)
        raise UserError(f"checkpoint {path}: no such file; give a .pt, .pth or .safetensors file, or {names}")
    try:
        state = read_known(path)
    except OSError as error:
        raise UserError(f"checkpoint {path}: cannot be read ({error.strerror}); make it readable") from None
    if not isinstance(state, dict):
        raise DamagedFileError(
            f"checkpoint {path}: holds {described(state)}, not a dictionary of weights; {SAVE_AGAIN}"
        )
    return state


def read_known(path: Path) -> Any:
    """What a file holds; raises a `DamagedFileError` for a file of another kind."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    other = other_kind(head)
    if other is not None:
        raise DamagedFileError(f"checkpoint {path}: {other}")
    if is_safetensors(head, path.stat().st_size) or (path.suffix == ".safetensors" and head[:4] != ZIP_START):
        return read_safetensors(path)
    check_content(path)
    if head.startswith(ZIP_START):
        refuse_other_archives(path)
    try:
        # An open file, because the ending of a path would make `torch.load` choose another reader.
        with path.open("rb") as file, torch.serialization.safe_globals(stand_ins(path)):  # type: ignore[arg-type]
            return torch.load(file, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # A damaged file can raise almost any exception.
        raise DamagedFileError(f"checkpoint {path}: {why_unreadable(error)}") from None


def other_kind(head: bytes) -> str | None:
    """What a file is that begins like no file of weights, with the remedy; None for one that may be such a file."""
    if not head:
        return "is empty; copy or download it again"
    if head.lstrip().lower().startswith(WEB_PAGE):
        return "is a web page, not weights; download the file itself (a link to raw content, or a browser)"
    if head.startswith(b"version https://git-lfs"):
        return "is a pointer of Git LFS, not the weights; fetch them with git lfs pull"
    for start, name in PACKED.items():
        if head.startswith(start):
            return f"is compressed with {name}; unpack it and name the file inside"
    if head[TAR_MARK] == b"ustar" or head.startswith(OLD_TAR_MEMBERS):
        return f"is a tar archive; unpack it, or, if an old PyTorch wrote it, load it there and {SAVE_AGAIN}"
    return None


def is_safetensors(head: bytes, size: int) -> bool:
    """Whether a file begins with the length of a header in JSON that lies inside it."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8


def read_safetensors(path: Path) -> dict[str, Any]:
    """Read a file of safetensors to the CPU; what was exported here has the form of a checkpoint."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return state_of(file.metadata(), {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise DamagedFileError(
            f"checkpoint {path}: damaged or no safetensors file ({reason_of(error)}); copy or download it again"
        ) from None


def refuse_other_archives(path: Path) -> None:
    """Raise a `DamagedFileError` for an archive that `torch.save` did not write."""
    with zipfile.ZipFile(path) as archive:
        names = [name.rpartition("/")[2] for name in archive.namelist()]
    if "constants.pkl" in names:
        raise DamagedFileError(
            f"checkpoint {path}: is a TorchScript program, not weights; load it with torch.jit.load and {SAVE_AGAIN}"
        )
    if "data.pkl" not in names:
        raise DamagedFileError(f"checkpoint {path}: is an archive without weights; unpack it and name the file inside")


def why_unreadable(error: Exception) -> str:
    """The reason that an exception of `torch.load` gives, with the remedy."""
    text = str(error)
    blocked = re.search(r"unsupported GLOBAL (\S+) whose module", text)
    if blocked:
        return f"calls {blocked[1]}, which could run programs, so it is not read; do not trust this file"
    unknown = re.search(r"Unsupported global: GLOBAL (\S+) was not", text)
    unknown = unknown or re.search(r"but got <class '([^']+)'>", text)
    if unknown and isinstance(error, pickle.UnpicklingError):
        name = unknown[1].removeprefix(f"{__name__}.")
        return f"holds objects of class {name}, which are not read for safety; {SAVE_AGAIN}"
    return (
        f"cannot be read ({type(error).__name__}: {reason_of(error)}); it is damaged, cut short or not a file of "
        "weights; copy or download it again"
    )


class StandIn:
    """An object of a class that was not read, because reading would run code: it keeps what the file says of it."""

    arguments: tuple[Any, ...]
    state: Any = None

    def __new__(cls, *arguments: Any) -> "StandIn":
        """Keep the arguments of the object's construction."""
        own = super().__new__(cls)
        own.arguments = arguments
        return own

    def __init__(self, *arguments: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state


def numpy_scalar(kind: StandIn, data: bytes) -> Any:
    """The plain number that a pickled NumPy scalar holds; `kind` stands for its `numpy.dtype`."""
    dtype = np.dtype(kind.arguments[0]).newbyteorder(kind.state[1])
    return np.frombuffer(data, dtype)[0].item()


def stand_ins(path: Path) -> list[tuple[Callable[..., Any], str]]:
    """Stand-ins with the names of the classes and functions that `torch.load` does not know to be safe.

    They are empty for a file whose names cannot be listed; `torch.load` then says what it does not read.
    """
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
    except (ValueError, RuntimeError, EOFError, pickle.UnpicklingError):
        return []
    return [(numpy_scalar if name in NUMPY_SCALARS else type(name, (StandIn,), {}), name) for name in names]


def described(value: Any) -> str:
    """What an entry holds, for messages: `text`, `dict`, `an object of class easydict.EasyDict`."""
    kind = type(value)
    if isinstance(value, StandIn):
        return f"an object of class {kind.__name__}, which is not read for safety"
    return "text" if kind is str else "nothing" if value is None else kind.__name__
