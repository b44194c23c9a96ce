"""The folder of a run: one process (or group) at a time, and the checkpoint that a run continues from."""

import fcntl
import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import IO, Any

from spikevrt.config import Config
from spikevrt.data.files.atomic import writing
from spikevrt.errors import UserError, one_line
from spikevrt.training.checkpoints import BEST, LAST, by_step, newest_whole, told, told_step
from spikevrt.training.run_log import LOG_NAME

LOCK_NAME = "run.lock"
SUPERSEDED = "superseded"
"""Folder inside a run's folder for checkpoints that a run no longer continues from; later ones are `superseded_2`..."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the run's folder for this process, so that no second run writes there.

    The lock file names host and process. The system releases the lock when its process ends, however it ends; a file
    that a killed process left is taken over.

    Raises:
        UserError: another process holds the folder.
    """
    path = folder / LOCK_NAME
    with ExitStack() as stack:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with writing(path):
            file = stack.enter_context(opened_lock(path))
            # A process that still opens the file then finds it unlocked, but no longer in the folder.
            stack.callback(path.unlink, missing_ok=True)
            left = owner(file)
            if left is not None:
                print(one_line(f"{path}: left by {left}, which no longer runs: taken over"))
            sign(file)
        yield


@contextmanager
def opened_lock(path: Path) -> Iterator[IO[str]]:
    """The lock file, locked and still in its folder."""
    while True:
        with path.open("a+", encoding="utf-8", errors="replace") as file:
            try:
                lock(file)
            except BlockingIOError:
                raise UserError(
                    f"{path}: {owner(file) or 'another process'} trains here now; wait until it ends, or set another "
                    "TRAIN.OUTPUT_DIR"
                ) from None
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                yield file
                return


def lock(file: IO[str]) -> None:
    """Lock a file for this process alone; does nothing where the file system has no locks.

    A POSIX lock, not flock(2): worker processes must not inherit it, because they can outlive a killed run.

    Raises:
        BlockingIOError: another process holds it.
    """
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        raise BlockingIOError from None
    except OSError:
        return


def sign(file: IO[str]) -> None:
    """Write host and process into a lock file."""
    text = json.dumps({"host": socket.gethostname(), "process": os.getpid()})
    # Without the file's buffer, which on a full disk would fail once more where it is closed.
    os.ftruncate(file.fileno(), 0)
    os.write(file.fileno(), text.encode())


def owner(file: IO[str]) -> str | None:
    """The process that a lock file names, as text; None if the file is empty."""
    file.seek(0)
    text = file.read(1000)
    try:
        found = json.loads(text)
        return f"process {int(found['process'])} on {str(found['host'])[:100]}"
    except (ValueError, KeyError, TypeError):
        return "another process" if text else None


def find_resume(resume: str | None, folder: Path, config: Config) -> Path | None:
    """The checkpoint to continue from: none, the run's newest whole one (`auto`, if there is any), or a path.

    Raises:
        UserError: `resume` is None although the folder holds a run, no checkpoint of the run is whole, or a folder
            has the place of a checkpoint.
    """
    for path in (folder / LAST, folder / BEST):
        if path.is_dir():
            raise UserError(f"{path}: is a folder where a run writes its checkpoint; rename or remove it")
    there = by_step(folder)
    if resume == "auto":
        found = newest_whole(folder, config)
        return found[0] if found is not None else None
    if resume is None and there:
        raise UserError(
            f"{there[0]}: holds a run already; continue it with --resume auto, or set another TRAIN.OUTPUT_DIR"
        )
    return Path(resume).expanduser() if resume is not None else None


def start_over(folder: Path) -> None:
    """Move the weights out of the way that a run left which was killed before its first save."""
    if there := by_step(folder):
        move_aside(folder, there, 0)


def set_aside(folder: Path, resumed: Path, training: dict[str, Any]) -> bool:
    """Move checkpoints that do not belong to the steps behind a run, and a copy of the log, out of its way.

    Args:
        folder: of the run.
        resumed: the checkpoint that the run continues from, in this folder or elsewhere.
        training: its counters.

    Returns:
        Whether the folder still holds `best.pt`.
    """
    if old := outdated(folder, resumed, training):
        move_aside(folder, old, training["step"])
    return (folder / BEST).is_file()


def move_aside(folder: Path, old: list[Path], step: int) -> None:
    """Move checkpoints, and copy the log, out of the way of a run that continues from `step`; prints a line."""
    aside = unused(folder / SUPERSEDED)
    aside.mkdir()
    for path in old:
        os.replace(path, aside / path.name)
    if (folder / LOG_NAME).is_file():
        shutil.copy2(folder / LOG_NAME, aside / LOG_NAME)
    names = ", ".join(path.name for path in old)
    print(one_line(f"{folder}: {names}: not what step {step} continues, so it is in {aside.name}/ now"))


def outdated(folder: Path, resumed: Path, training: dict[str, Any]) -> list[Path]:
    """The checkpoints of a folder that are of later steps or, as far as can be told, of another run.

    `best.pt` has the best score of the steps up to any checkpoint that came after it; otherwise it is of another run,
    and so is the rest of the folder, unless the run continues from there. One of a validation that is made again is
    replaced then.
    """
    paths, best, step = by_step(folder), folder / BEST, training["step"]
    inside = any(path.samefile(resumed) for path in paths)
    again = training.get("validated", step) < step and best.is_file() and told_step(best) == step
    strange = best.is_file() and told(best, "training", "best") != training["best"] and not (inside and again)
    if strange and not inside:
        return paths
    return [
        path
        for path in paths
        if told_step(path) > step or (path == best and strange) or (path.name == LAST and not inside)
    ]


def unused(folder: Path) -> Path:
    """The folder, or if it is there already, the first of `folder_2`, `folder_3` ... that is not."""
    if not folder.exists():
        return folder
    return next(path for i in count(2) if not (path := folder.with_name(f"{folder.name}_{i}")).exists())
