"""Matches the files of a clip: a frame and its spikes have the same stem in neighbouring folders."""

from collections.abc import Collection
from pathlib import Path

from spikevrt.data.files.images import PICTURE_SUFFIXES
from spikevrt.data.files.listing import files_in, natural_order
from spikevrt.errors import UserError

EXPECTED = "<root>/<split>/<clip>/{blur,sharp,spike}/000001.{png,png,dat}"
"""The unified layout, for error messages."""
SHOWN_STEMS = 3


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
