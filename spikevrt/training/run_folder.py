"""The folder of a run: one process (or group) at a time, and the checkpoint that a run continues from."""

import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from spikevrt.config import Config
from spikevrt.errors import UserError, one_line
from spikevrt.training.checkpoints import BEST, by_step, newest_whole, told_step
from spikevrt.training.run_log import LOG_NAME

LOCK_NAME = "run.lock"
SUPERSEDED = "superseded"
"""Folder inside a run's folder for checkpoints of steps that a run no longer continues from."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the run's folder for this process, so that no second run writes there.

    The lock file names host and process. The system releases the lock when its process ends, however it ends; a file
    that a killed process left is taken over.

    Raises:
        UserError: another process holds the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK_NAME
    with opened_lock(path) as file:
        left = owner(file)
        if left is not None:
            print(one_line(f"{path}: left by {left}, which no longer runs: taken over"))
        file.seek(0)
        file.truncate()
        file.write(json.dumps({"host": socket.gethostname(), "process": os.getpid()}))
        file.flush()
        try:
            yield
        finally:
            # A process that still opens the file now finds it unlocked, but no longer in the folder.
            path.unlink(missing_ok=True)


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
    """Lock a file for this process alone; does nothing where the system or the file system has no locks.

    A POSIX lock, not flock(2): worker processes must not inherit it, because they can outlive a killed run.

    Raises:
        BlockingIOError: another process holds it.
    """
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        raise BlockingIOError from None
    except OSError:
        return


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
        UserError: `resume` is None although the folder holds a run, or no checkpoint of the run is whole.
    """
    if resume == "auto":
        found = newest_whole(folder, config)
        return found[0] if found is not None else None
    there = by_step(folder)
    if resume is None and there:
        raise UserError(
            f"{there[0]}: holds a run already; continue it with --resume auto, or set another TRAIN.OUTPUT_DIR"
        )
    return Path(resume).expanduser() if resume is not None else None


def set_aside_later(folder: Path, step: int) -> bool:
    """Move checkpoints of later steps than the one that a run continues from, and a copy of the log, out of its way.

    Returns:
        Whether the folder still holds `best.pt`.
    """
    later = [path for path in by_step(folder) if told_step(path) > step]
    if later:
        aside = folder / SUPERSEDED
        aside.mkdir(exist_ok=True)
        for path in later:
            os.replace(path, aside / path.name)
        if (folder / LOG_NAME).is_file():
            shutil.copy2(folder / LOG_NAME, aside / LOG_NAME)
        names = ", ".join(path.name for path in later)
        line = f"{folder}: {names}: later than step {step}, from which the run continues; now in {SUPERSEDED}/"
        print(one_line(line))
    return (folder / BEST).is_file()
