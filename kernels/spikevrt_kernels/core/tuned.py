"""Configurations that `bench.tune` found fastest on this machine; they replace rows of the static tables.

Kept in the user's cache folder for one device, one Triton and one state of the kernels' sources; with any other of
them nothing is tuned, and the static tables decide. SPIKEVRT_TUNED=0 leaves them out. What operators declare to move
stays that of the static tables.
"""

import hashlib
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import torch

from spikevrt_kernels.core.user_cache import cache_folder, keep, read_kept, sources

VARIABLE = "SPIKEVRT_TUNED"
FOLDER = "tuned"
Row = tuple[int, ...]
"""The fields of a `Config` of the kernel's static table."""
LENGTHS = (3, 4)
"""How many they are: in the table of the windows one more."""


class Kernel(NamedTuple):
    """A kernel and the properties that its binary depends on."""

    operator: str
    name: str
    """Name in the operator's static table."""
    variant: tuple[str | int, ...]
    """Type, channels and other properties that decide how many registers it needs."""

    def __str__(self) -> str:
        return f"{self.operator} {self.name} {'-'.join(map(str, self.variant))}"


class Trial:
    """Rows that are tried now, and the kernels that were asked for: of the process, since backward has threads."""

    rows: Mapping[Kernel, Row] = {}
    asked: dict[Kernel, None] | None = None


@contextmanager
def trying(rows: Mapping[Kernel, Row]) -> Iterator[None]:
    """While active, these kernels use these rows on any device."""
    before, Trial.rows = Trial.rows, rows
    try:
        yield
    finally:
        Trial.rows = before


@contextmanager
def kernels_asked_for() -> Iterator[dict[Kernel, None]]:
    """While active, collect the kernels whose rows are looked up, in order."""
    before, Trial.asked = Trial.asked, {}
    try:
        yield Trial.asked
    finally:
        Trial.asked = before


def tuned_row(kernel: Kernel, device: torch.device | None) -> Row | None:
    """The row of a kernel that was found fastest on a device, or None to use the static table.

    Args:
        kernel: whose.
        device: where it runs; None for a launch that is only planned.
    """
    if Trial.asked is not None:
        Trial.asked[kernel] = None
    if kernel in Trial.rows:
        return Trial.rows[kernel]
    if device is None or device.type != "cuda":
        return None
    return rows_on(device).get(kernel)


@cache
def rows_on(device: torch.device) -> Mapping[Kernel, Row]:
    """All rows of a CUDA device, read once."""
    return {} if os.environ.get(VARIABLE) == "0" else read_rows(torch.cuda.get_device_properties(device).name)


def fingerprint(device: torch.device) -> str:
    """A key that changes with the rows used on a device, because checks with other rows are not valid."""
    rows = rows_on(device) if device.type == "cuda" else {}
    return hashlib.sha256(repr(sorted(rows.items())).encode()).hexdigest()[:16]


def origin(device_name: str) -> dict[str, str]:
    """What the rows of a device belong to: another of them is another file."""
    return {"device": device_name, "triton": triton_version(), "sources": sources()}


def triton_version() -> str:
    """Version of the compiler's package."""
    try:
        return version("triton")
    except PackageNotFoundError:
        return "none"


def file_name(device_name: str) -> str:
    """The file of a device's rows."""
    return hashlib.sha256(repr(sorted(origin(device_name).items())).encode()).hexdigest()[:16] + ".json"


def rows_path(device_name: str) -> Path:
    """Path of the file with a device's rows."""
    return cache_folder() / FOLDER / file_name(device_name)


def read_rows(device_name: str) -> dict[Kernel, Row]:
    """The rows kept for a device; if the file is damaged, none and a warning."""
    path = rows_path(device_name)
    if not path.exists():
        return {}
    try:
        return dict(map(parsed, read_kept(FOLDER, path.name)["rows"]))
    except (TypeError, ValueError, KeyError):
        warnings.warn(f"{path}: damaged, so nothing is tuned; python -m bench.tune makes it again", stacklevel=2)
        return {}


def parsed(entry: Mapping[str, Any]) -> tuple[Kernel, Row]:
    """A kernel and its row.

    Raises:
        ValueError: the row is none.
    """
    row = tuple(entry["row"])
    if len(row) not in LENGTHS or not all(isinstance(value, int) and value > 0 for value in row):
        raise ValueError(f"{row} is no row")
    return Kernel(entry["operator"], entry["name"], tuple(entry["variant"])), row


def keep_rows(device_name: str, rows: Mapping[Kernel, Row]) -> None:
    """Write the rows of a device."""
    entries = [{**kernel._asdict(), "row": row} for kernel, row in rows.items()]
    keep({**origin(device_name), "rows": entries}, FOLDER, file_name(device_name))
    rows_on.cache_clear()
