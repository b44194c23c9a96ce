"""How the frames of a spike recording are stored, and the files that say so."""

import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from spikevrt.config import DataConfig
from spikevrt.config.written import MOST_BYTES, compose, decoded
from spikevrt.data.files.stems import by_stem
from spikevrt.data.spikes.npz import array_shape, is_array
from spikevrt.errors import UserError, quoted

KNOWN = ((250, 400), (250, 416), (1000, 1000), (360, 640), (384, 384), (256, 256), (180, 320), (500, 800))
"""Stored sizes (height, width) of common cameras and data sets."""
SHOWN_GEOMETRIES = 4
RECORDING_SUFFIXES = (".dat", ".npz")
OTHER_SUFFIXES = (".bin", ".raw")
"""What a recording that is named itself may end in, too: it is read as a `.dat`. In a folder they do not count."""
SIZE_KEYS = ("spike_h", "spike_w")
"""Keys of the size in a `config.yaml` beside recordings."""
SIDE = re.compile(r"\+?([0-9]{1,6})(\.0*)?")
"""A number of pixels there: 250, or 250.0 as some tools write it."""


@dataclass(frozen=True)
class SpikeGeometry:
    """How a spike frame is stored: `packed`, one bit per pixel (least significant bit first), or `uint8`, one byte."""

    height: int
    width: int
    """Columns of pixels, without the dropped columns."""
    format: str = "packed"
    flip: bool = True
    """Whether rows are stored upside down."""
    drop: tuple[int, int] = (0, 0)
    """Columns without pixels at the left and right end of every stored row."""
    drop_rest: bool = False
    """Whether bytes after the last whole frame of a file are left out instead of refused."""

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1 or min(self.drop) < 0:
            raise UserError(
                f"spike geometry {self.height}x{self.width}, {sum(self.drop)} columns dropped: no pixels are left; "
                "check DATA.SPIKE_HEIGHT, DATA.SPIKE_WIDTH and DATA.SPIKE_DROP_COLUMNS"
            )
        if self.format == "packed" and self.height * self.stored_width % 8:
            raise UserError(
                f"spike geometry {self.height}x{self.stored_width}: {self.height * self.stored_width} bits are not "
                "whole bytes; check DATA.SPIKE_HEIGHT and DATA.SPIKE_WIDTH, or the config.yaml beside the recording"
            )

    @property
    def stored_width(self) -> int:
        """Columns of a stored row, with the dropped ones."""
        return self.drop[0] + self.width + self.drop[1]

    @property
    def frame_bytes(self) -> int:
        """Bytes of one stored frame."""
        pixels = self.height * self.stored_width
        return pixels // 8 if self.format == "packed" else pixels

    def __str__(self) -> str:
        dropped = f" less columns {list(self.drop)}" if any(self.drop) else ""
        return f"{self.height}x{self.stored_width}{dropped} {self.format}"


def fitting_geometries(size: int) -> str:
    """The known packed geometries whose frames divide `size` bytes, as text; at most `SHOWN_GEOMETRIES`."""
    fits = [f"{h}x{w} ({size * 8 // (h * w)} frames)" for h, w in KNOWN if size and size * 8 % (h * w) == 0]
    return ", ".join(fits[:SHOWN_GEOMETRIES]) or "none of the known ones"


def recordings_in(place: Path) -> dict[str, Path]:
    """Stem -> recording of a folder, in natural order; or the one recording, if `place` is a file.

    Raises:
        UserError: the file has another suffix than recordings have.
    """
    if not place.is_file():
        return by_stem(place, RECORDING_SUFFIXES)
    if place.suffix.lower() not in RECORDING_SUFFIXES + OTHER_SUFFIXES:
        raise UserError(f"{place}: is no recording ({', '.join(RECORDING_SUFFIXES)}); name one, or its folder")
    return {place.stem: place}


def home(place: Path) -> Path:
    """The folder that holds the descriptions of a folder of recordings, or of one recording."""
    return place.parent if place.is_file() else place


def only_arrays(place: Path) -> bool:
    """Whether a folder of recordings, or one, holds `.npz` files and nothing else."""
    files = recordings_in(place).values()
    return bool(files) and all(is_array(path) for path in files)


def geometry_for(place: Path, data: DataConfig) -> SpikeGeometry:
    """Geometry of the recordings in a folder, or of one: by DATA.SPIKE_HEIGHT and SPIKE_WIDTH, `config.yaml` or `.npz`.

    Raises:
        UserError: none of them states the size.
    """
    size: tuple[int, int] | None = None
    if data.spike_height is not None and data.spike_width is not None:
        size = data.spike_height, data.spike_width
    size = size or read_recording_config(home(place) / "config.yaml")
    arrays = only_arrays(place)
    if size is None and arrays:
        size = array_shape(next(iter(recordings_in(place).values())))[1:]
    if size is None:
        raise UserError(
            f"{place}: the spikes' geometry is unknown; set DATA.SPIKE_HEIGHT and DATA.SPIKE_WIDTH, or write "
            "spike_h and spike_w in a config.yaml there (python -m spikevrt.identify FILE finds it)"
        )
    left, right = data.spike_drop_columns
    format = "uint8" if arrays else data.spike_format
    rest = data.recording.incomplete == "drop"
    return SpikeGeometry(size[0], size[1] - left - right, format, data.spike_flip, (left, right), rest)


def read_recording_config(path: Path) -> tuple[int, int] | None:
    """(height, width) from SpikeCV's `config.yaml` (spike_h, spike_w), or None where there is no such file.

    Raises:
        UserError: it does not state both as whole numbers of 1 to 999999, or states one of them twice.
    """
    if not path.is_file():
        return None
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    found: dict[str, list[str]] = {key: [] for key in SIZE_KEYS}
    for key, value in top_level(content) if len(content) <= MOST_BYTES else ():
        found.get(key.strip().lower(), []).append(value)
    matches = [SIDE.fullmatch(values[0].strip()) if len(set(values)) == 1 else None for values in found.values()]
    sides = [int(match[1]) if match else 0 for match in matches]
    if min(sides) < 1:
        stated = ", ".join(f"{key}: {quoted(' and '.join(values))}" for key, values in found.items() if values)
        raise UserError(
            f"{path}: must hold spike_h and spike_w as whole numbers of pixels, once each"
            f"{f' (it holds {stated})' if stated else ''}; correct it, or python -m spikevrt.identify finds the size"
        )
    return sides[0], sides[1]


def top_level(content: bytes) -> list[tuple[str, str]]:
    """Key and value of every plain entry of a YAML mapping, as they are written; nothing if it is no such text."""
    try:
        root = compose(decoded(content))
    except yaml.YAMLError:
        return []
    pairs = root.value if isinstance(root, yaml.MappingNode) else []
    scalar = yaml.ScalarNode
    return [(str(k.value), str(v.value)) for k, v in pairs if isinstance(k, scalar) and isinstance(v, scalar)]
