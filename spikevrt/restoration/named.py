"""Methods of an evaluation by the names that people give them, and where their results may go."""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from spikevrt.cli import require_unread
from spikevrt.errors import UserError, shown
from spikevrt.restoration.evaluation import BLURRED, FROM_SPIKES, REFERENCE, TAKEN
from spikevrt.weights import SHIPPED


def named_files(option: str, arguments: Sequence[str], one: str = "restored") -> dict[str, Path]:
    """Files or folders by name: `NAME=PATH`, or `PATH`, which is called `one` or, among several, by its
    folder, and weights that come with the package by their name.

    An equals sign inside the path of a file ends no name: `runs/lr=1e-4/best.pt` is a path.
    """
    named: dict[str, Path] = {}
    for argument in arguments:
        file = Path(argument)
        name, equals, below = argument.partition("=")
        if equals and os.sep not in name and not file.exists():
            file = Path(os.path.expanduser(below))
        else:
            own = argument if argument in SHIPPED else file.resolve().parent.name
            name, below = one if len(arguments) == 1 else own, argument
        if not name or not below:
            raise UserError(f"{option} {shown(argument)}: without a name or a path; write NAME=PATH")
        if name in TAKEN:
            raise UserError(f"{option} {shown(argument)}: {name} is {TAKEN[name]}; write another NAME=PATH")
        if name in named:
            raise UserError(f"{option} {shown(argument)}: two are called {shown(name)}; write NAME=PATH")
        named[name] = file
    return named


def named_checkpoints(arguments: Sequence[str]) -> dict[str, Path]:
    """Checkpoints by name."""
    return named_files("--checkpoint", arguments)


def named_folders(arguments: Sequence[str], taken: Collection[str]) -> dict[str, Path]:
    """Folders of pictures by name; no checkpoint is called so.

    Raises:
        UserError: one is not there.
    """
    named = named_files("--pictures", arguments, "pictures")
    for name, folder in named.items():
        if name in taken:
            raise UserError(f"--pictures {shown(name)}: a checkpoint is called so too; write another NAME=DIR")
        if not folder.is_dir():
            raise UserError(f"--pictures {folder}: no such folder; it holds CLIP/STEM.png")
    return named


def require_distinct(files: Mapping[str, Path], inputs: Collection[Path]) -> None:
    """Raise a `UserError` if files to write, by their options, are one file, or are read."""
    written: dict[Path, str] = {}
    for option, file in files.items():
        require_unread(option, file, inputs)
        other = written.setdefault(file.resolve(), option)
        if other != option:
            raise UserError(f"{option} {shown(str(file))}: {other} names this file too; name another one")


def require_apart(files: Mapping[str, Path], save: Path | None, names: Iterable[str], folders: Iterable[Path]) -> None:
    """Raise a `UserError` if results would lie among what is read.

    Args:
        files: to write, by their options.
        save: the folder of all pictures, with a folder for each method.
        names: of the checkpoints and of the folders of pictures.
        folders: clips and pictures that are read.
    """
    saved = [("--save", save / name) for name in (REFERENCE, BLURRED, *FROM_SPIKES, *names)] if save else []
    read = {folder.resolve() for folder in folders}
    for option, out in (*files.items(), *saved):
        if not read.isdisjoint((out.resolve(), *out.resolve().parents)):
            raise UserError(f"{option} {shown(str(out))}: lies among the pictures that are read; name another place")
