"""Matches the files of a clip: a frame and its spikes have the same stem in neighbouring folders."""

from collections.abc import Collection
from pathlib import Path

from spikevrt.data.files.images import PICTURE_SUFFIXES
from spikevrt.data.files.listing import files_in, natural_order
from spikevrt.errors import UserError

EXPECTED = "<root>/<split>/<clip>/{blur,sharp,spike}/000001.{png,png,dat}"
"""The unified layout, for error messages."""
SHOWN_STEMS = 3


def name_of(path: Path) -> str:
    """What results call a file or folder: its name, of a file without its ending.

    Only letters behind the last dot are an ending: `take.1` and `take.2` keep theirs. Folders have none, and `.` and
    `..` are called as the folder that they mean.

    Raises:
        UserError: there is no name (the root), or it begins with a dot and would be hidden.
    """
    name = path.name if path.name not in ("", "..") else path.resolve().name
    ending = Path(name).suffix
    if not path.is_dir() and any(map(str.isalpha, ending)):
        name = name.removesuffix(ending)
    if not name or name.startswith("."):
        reason = "begins with a dot, and hidden results would be lost" if name else "has none"
        raise UserError(f"{path}: its name is that of its results, but it {reason}; rename it, or name another")
    return name


def by_stem(folder: Path, suffix: str | tuple[str, ...] | None) -> dict[str, Path]:
    """The files of a folder by stem, in natural order: pictures, or files with the given suffixes.

    Empty if the folder is missing. Which files count, and which are refused, says `files_in`.
    """
    if not folder.is_dir():
        return {}
    suffixes = PICTURE_SUFFIXES if suffix is None else (suffix,) if isinstance(suffix, str) else suffix
    return {path.stem: path for path in files_in(folder, suffixes)}


def require_same(folder: Path, stems: Collection[str], other: Path, wanted: Collection[str]) -> None:
    """Raise a `UserError` unless two folders hold files of the same stems."""
    missing = sorted(set(wanted) - set(stems), key=natural_order)
    extra = sorted(set(stems) - set(wanted), key=natural_order)
    if missing or extra:
        parts = [f"missing {', '.join(missing[:SHOWN_STEMS])}"] if missing else []
        parts += [f"without a counterpart {', '.join(extra[:SHOWN_STEMS])}"] if extra else []
        raise UserError(
            f"{folder}: {len(stems)} files beside {len(wanted)} in {other} ({'; '.join(parts)}); "
            "every frame needs one file of the same stem in each folder"
        )
