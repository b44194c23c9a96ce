"""Writes files and folders so that they appear completely or not at all, also where the disk is full or power fails.

What is not complete has a name that begins with `PREFIX`. As long as a process works on it, the process holds a lock
on it, which the system takes away with the process: without its lock it is a leftover, and is removed by the next
command that writes into the same folder.
"""

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spikevrt.errors import UserError
from spikevrt.system.failures import write_error

PREFIX = ".spikevrt-"
"""How the names of unfinished files and folders begin."""
UNFINISHED = re.compile(re.escape(PREFIX) + r"[a-z0-9_]{8}(\..*)?")
"""Their whole names: eight random characters, and the suffix of the file."""
_tidied: set[Path] = set()
"""Folders without leftovers: this process has looked into them."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder; it replaces `path` at the end and is removed after an error.

    Raises:
        UserError: the system refuses to write (names `path`, the reason and the remedy).
    """
    with writing(path):
        make_parent(path)
        temporary, lock = locked(path.parent, path.suffix)
        try:
            yield temporary
            # mkstemp creates files with mode 0600; results get the usual permissions.
            temporary.chmod(0o666 & ~umask())
            if not inside_unfinished(path):
                sync(temporary)
            os.replace(temporary, path)
            if not inside_unfinished(path):
                sync_folder(path.parent)
        finally:
            with suppress(OSError):
                temporary.unlink()
            os.close(lock)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder next to `path`; it is renamed to `path` at the end and removed after an error.

    Raises:
        UserError: the system refuses to write, or `path` exists by the end and is not an empty folder.
    """
    with scratch_folder(path) as temporary:
        yield temporary
        temporary.chmod(0o777 & ~umask())
        for folder, _, names in os.walk(temporary):
            for name in names:
                if not os.path.islink(os.path.join(folder, name)):
                    sync(Path(folder, name))
            sync_folder(Path(folder))
        temporary.replace(path)
        sync_folder(path.parent)


@contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """A temporary folder on the disk of `path`, beside it; it is removed at the end.

    Raises:
        UserError: the system refuses to write (names `path`, the reason and the remedy).
    """
    with writing(path):
        make_parent(path)
        temporary, lock = locked(path.parent)
        try:
            yield temporary
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            os.close(lock)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the system says while `path` is written into one `UserError` line that names `path`.

    An error that names another file (a source that cannot be read) passes. So does one inside an unfinished folder: the
    finished one, which the user knows, is named for it.
    """
    try:
        yield
    except UserError:
        raise  # It is one line already, and some of them are `OSError`s too.
    except (OSError, RuntimeError) as error:
        line = None if inside_unfinished(path) or names_another(error, path) else write_error(error, path)
        if line is None:
            raise
        raise line from None


def names_another(error: BaseException, path: Path) -> bool:
    """Whether an error names a file that is neither `path`, nor a folder around it, nor unfinished."""
    names = [getattr(error, name, None) for name in ("filename", "filename2")]
    named = [Path(name) for name in names if isinstance(name, str)]
    return bool(named) and not any(
        name in (path, *path.parents) or any(UNFINISHED.fullmatch(part) for part in name.parts) for name in named
    )


def write_array(path: Path, array: NDArray[np.uint8]) -> None:
    """Write the bytes of an array in C order, completely or not at all.

    `ndarray.tofile` must not be used: where the disk is full, it loses a small array without an error.

    Raises:
        UserError: the system refuses to write.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(np.ascontiguousarray(array).data)


def remove_leftovers(folder: Path) -> list[Path]:
    """Remove what killed commands left unfinished in a folder (not below it); returns what was removed.

    Only names of `UNFINISHED` are touched, and of them none on which a living process works, on whatever machine.
    """
    removed = []
    with suppress(OSError):
        for path in [folder / entry.name for entry in os.scandir(folder) if UNFINISHED.fullmatch(entry.name)]:
            if remove_if_left(path):
                removed.append(path)
    return removed


def remove_if_left(path: Path) -> bool:
    """Remove an unfinished file or folder if no process holds its lock; returns whether it was removed."""
    if path.is_symlink():
        return False
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    except OSError:  # Another process works on it, the disk has no locks, or it is somebody else's.
        return False
    finally:
        os.close(handle)
    return True


def make_parent(path: Path) -> None:
    """Make the folder of a path; the first time, remove the leftovers in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.parent.absolute()
    if folder not in _tidied and not inside_unfinished(path):
        remove_leftovers(folder)
        _tidied.add(folder)


def locked(folder: Path, suffix: str | None = None) -> tuple[Path, int]:
    """Make a temporary file with a suffix, or without one a folder; returns its path and the handle of its lock."""
    while True:
        if suffix is None:
            path = Path(tempfile.mkdtemp(dir=folder, prefix=PREFIX))
            handle = os.open(path, os.O_RDONLY)
        else:
            handle, name = tempfile.mkstemp(dir=folder, prefix=PREFIX, suffix=suffix)
            path = Path(name)
        with suppress(OSError):  # Some network disks have no locks: then nothing is removed on them either.
            fcntl.flock(handle, fcntl.LOCK_EX)
        # Another process may have removed it as a leftover in the moment before it was locked.
        if path.exists() and os.path.samestat(os.fstat(handle), path.stat()):
            return path, handle
        os.close(handle)


def inside_unfinished(path: Path) -> bool:
    """Whether a path lies in an unfinished folder, which is synchronised as a whole when it is finished."""
    return any(UNFINISHED.fullmatch(name) for name in path.parts[:-1])


def sync(path: Path) -> None:
    """Wait until a file is on the disk; errors that the system has put off appear here."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, so that a power cut does not undo `os.replace`."""
    with suppress(OSError):  # Some file systems cannot, and the files themselves are safe.
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def umask() -> int:
    """The permission bits that this process removes from new files."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
