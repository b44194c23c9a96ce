"""Results about this machine that take minutes to find again, kept as JSON files in the user's cache folder."""

import hashlib
import json
import os
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parents[1]
"""All kernels."""


def cache_folder() -> Path:
    """SPIKEVRT_CACHE_DIR, or `spikevrt` in the user's cache folder (XDG_CACHE_HOME, ~/.cache, without a home /tmp)."""
    own = os.environ.get("SPIKEVRT_CACHE_DIR")
    return Path(own) if own else user_caches() / "spikevrt"


def user_caches() -> Path:
    """The user's folder for caches of programs."""
    caches, home = os.environ.get("XDG_CACHE_HOME"), os.path.expanduser("~")
    if caches:
        return Path(caches)
    # Containers have users without a home, whom `~` stands for itself.
    return Path(tempfile.gettempdir()) if home == "~" else Path(home) / ".cache"


@cache
def sources(folder: Path = PACKAGE) -> str:
    """A digest of the sources in a folder, by default of all kernels; kept results are valid while it is the same."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        found.update(path.relative_to(folder).as_posix().encode() + b"\n" + path.read_bytes())
    return found.hexdigest()


def read_kept(*names: str) -> Any:
    """The value of the file `names` in the cache folder, or None if it is missing or damaged."""
    try:
        return json.loads(cache_folder().joinpath(*names).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def keep(value: Any, *names: str) -> None:
    """Write a value completely or not at all. If the folder cannot be written, the value is found again next time."""
    with suppress(OSError):
        path = cache_folder().joinpath(*names)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(value, file, indent=1)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
