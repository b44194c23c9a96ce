"""What the system refuses (a full disk, missing rights, no memory), told in one line with the remedy.

Imports nothing heavy: `spikevrt.cli` needs it for every command.
"""

import errno
import os
import re

from spikevrt.errors import UserError, reason_of

REMEDIES = {
    errno.ENOSPC: "free space there, or write to another disk",
    errno.EDQUOT: "free space within your quota there, or write to another disk",
    errno.EFBIG: "raise the largest size of a file (ulimit -f), or write to another disk",
    errno.EROFS: "write to another disk, or mount this one for writing",
    errno.EACCES: "check its rights, or choose a place of your own",
    errno.EPERM: "check its rights, or choose a place of your own",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOTDIR: "a part of the path is a file, not a folder; choose another path",
    errno.EEXIST: "remove it, or choose another path",
    errno.ENOTEMPTY: "remove it, or choose another path",
    errno.EISDIR: "remove this folder, or choose another path",
    errno.ENOENT: "the file, its folder or what a link leads to is missing or was removed meanwhile; restore it",
    errno.ELOOP: "links lead to each other; remove one of them",
    errno.EMFILE: "raise the number of open files (ulimit -n), or lower TRAIN.NUM_WORKERS",
    errno.ENFILE: "the whole machine has too many open files; close programs",
    errno.EIO: "check the disk and its cable or network",
    errno.ESTALE: "the network disk has lost it; mount the disk again",
    errno.ENOMEM: "close programs, or use smaller inputs",
    errno.EXDEV: "choose a path on one disk",
}
"""What helps, by the number of the system's error."""
ANY_REMEDY = "check the path, its rights and the disk"
MEMORY_REMEDY = "close programs, use smaller inputs, or lower TRAIN.NUM_WORKERS"
TORCH_WRITER = re.compile(r"PytorchStreamWriter|inline_container|iostream error")
"""torch.save reports a failed write as a RuntimeError with one of these words."""
NO_MEMORY = re.compile(r"can't allocate memory|out of memory|OutOfMemory|Cannot allocate memory|bad_alloc")


class WriteError(UserError, OSError):
    """What the system refuses to write, in one line; also an `OSError`, for code that expects one."""


def system_line(error: OSError, path: object = None) -> str:
    """One line for an error of the system: the path, the reason and the remedy.

    Args:
        error: what was raised; libraries leave out the number or the reason at times.
        path: what to name; None = the path that the error knows, if any.
    """
    named = path if path is not None else error.filename
    line = f"{reason_of(error.strerror or error)}; {REMEDIES.get(error.errno or 0, ANY_REMEDY)}"
    return line if named is None else f"{os.fsdecode(named) if isinstance(named, bytes) else named}: {line}"


def write_error(error: BaseException, path: object) -> WriteError | None:
    """The line for an error while `path` was written, or None if it is an error of another kind."""
    cause = system_cause(error)
    if cause is not None:
        return WriteError(system_line(cause, path))
    if isinstance(error, RuntimeError) and TORCH_WRITER.search(str(error)):
        return WriteError(f"{path}: could not be written completely; {REMEDIES[errno.ENOSPC]}")
    return None


def system_cause(error: BaseException) -> OSError | None:
    """The system's error behind one: itself, or for torch.save the one that its writer met."""
    if isinstance(error, OSError):
        return error
    before = error.__context__
    if isinstance(error, RuntimeError) and TORCH_WRITER.search(str(error)) and isinstance(before, OSError):
        return before
    return None


def memory_line(error: BaseException) -> str | None:
    """One line for an error that says that memory ran out, of Python, NumPy or PyTorch; None for another error."""
    if not out_of_memory(error):
        return None
    # NumPy tells what it wanted.
    size = re.search(r"\d[\d.]* \w*B\b", str(error)) if isinstance(error, MemoryError) else None
    return f"out of memory{f' ({size[0]} wanted)' if size else ''}; {MEMORY_REMEDY}"


def out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python, NumPy or PyTorch says that memory ran out, of the machine or of a GPU."""
    if isinstance(error, RuntimeError):
        return bool(NO_MEMORY.search(f"{type(error).__name__}: {error}"))
    return isinstance(error, MemoryError)
