"""Lists what people put into a folder: in natural order, one file a stem, without what systems and tools leave there.

Every command finds pictures, recordings and clips here, so that all of them see the same files.
"""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from spikevrt.errors import UserError

LEFT_BY_SYSTEMS = frozenset(
    {"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "system volume information"}
)
"""Names in lower case of what macOS, Windows and network disks add to folders. The rest of it begins with a dot."""


def natural_order(name: str) -> list[tuple[int, str]]:
    """Sorting key that compares numbers inside a name by value, so that frame 10 follows frame 9."""
    parts = re.findall(r"\d+|\D+", name)
    return [(int(p), "") if p.isdecimal() else (-1, p) for p in parts]


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is no data: `._frame.png`, `.clip-x1y2` of a killed run, `Thumbs.db`."""
    return name.startswith(".") or name.lower() in LEFT_BY_SYSTEMS


def entries(folder: Path) -> list[Path]:
    """The files and folders in `folder` that are not hidden, in natural order of their names.

    Raises:
        UserError: the folder is gone or may not be read.
    """
    try:
        found = [path for path in folder.iterdir() if not is_hidden(path.name)]
    except OSError as error:
        raise UserError(f"{folder}: cannot be listed ({error.strerror}); check the path and its rights") from None
    return sorted(found, key=lambda path: (natural_order(path.name), path.name))


def folders_in(folder: Path) -> list[Path]:
    """The folders in `folder` and the links to folders, in natural order; without hidden ones."""
    return [path for path in entries(folder) if path.is_dir()]


def folders_below(folder: Path, inside: tuple[Path, ...] = ()) -> Iterator[Path]:
    """`folder` and all folders below it, in natural order. Links are followed; a link to a folder around it is not.

    Args:
        folder: where to start.
        inside: the real paths of the folders around it.
    """
    place = folder.resolve()
    if place in inside:
        return
    yield folder
    for below in folders_in(folder):
        yield from folders_below(below, (*inside, place))


def files_in(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """The files of a folder that end in one of `suffixes` (lower case, `.png`; files may have capitals).

    Returns:
        One file a stem, in natural order of the stems; hidden files and folders are left out.

    Raises:
        UserError: two files share a stem or a place in the order (`1.png`, `01.png`), a link leads nowhere, or the
            folder cannot be listed.
    """
    files = [path for path in entries(folder) if path.suffix.lower() in suffixes and not path.is_dir()]
    for path in files:
        if not path.is_file():
            raise UserError(f"{path}: is no file, or a link that leads nowhere; restore or remove it")
    files.sort(key=lambda path: (natural_order(path.stem), path.name))
    for path, other in pairwise(files):
        if path.stem == other.stem:
            raise UserError(f"{folder}: holds {path.name} and {other.name}; a frame has one file, remove one of them")
        if natural_order(path.stem) == natural_order(other.stem):
            raise UserError(f"{folder}: which is first, {path.name} or {other.name}? Rename or remove one of them")
    return files
