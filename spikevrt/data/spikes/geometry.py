"""How the frames of a spike recording are stored, and the files that say so."""

from dataclasses import dataclass
from pathlib import Path

import yaml

from spikevrt.config import DataConfig
from spikevrt.data.spikes.npz import array_shape
from spikevrt.errors import UserError

KNOWN = ((250, 400), (250, 416), (1000, 1000), (360, 640), (384, 384), (256, 256), (180, 320), (500, 800))
"""Stored sizes (height, width) of common cameras and data sets."""


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

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1 or min(self.drop) < 0:
            raise UserError(
                f"spike geometry {self.height}x{self.width}, {sum(self.drop)} columns dropped: no pixels are left; "
                "check DATA.SPIKE_HEIGHT, DATA.SPIKE_WIDTH and DATA.SPIKE_DROP_COLUMNS"
            )
        if self.format == "packed" and self.height * self.stored_width % 8:
            raise UserError(
                f"spike geometry {self.height}x{self.stored_width}: {self.height * self.stored_width} bits are not "
                "whole bytes; check DATA.SPIKE_HEIGHT and DATA.SPIKE_WIDTH"
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
    """The known packed geometries whose frames divide `size` bytes, as text."""
    fits = [f"{h}x{w} ({size * 8 // (h * w)} frames)" for h, w in KNOWN if size and size * 8 % (h * w) == 0]
    return ", ".join(fits) or "none of the known ones"


def geometry_for(folder: Path, data: DataConfig) -> SpikeGeometry:
    """Geometry of the recordings in `folder`: by DATA.SPIKE_HEIGHT and SPIKE_WIDTH, `config.yaml` or an `.npz`.

    Raises:
        UserError: none of them states the size.
    """
    size: tuple[int, int] | None = None
    if data.spike_height is not None and data.spike_width is not None:
        size = data.spike_height, data.spike_width
    size = size or read_recording_config(folder / "config.yaml")
    arrays = sorted(folder.glob("*.npz")) if folder.is_dir() else []
    only_arrays = bool(arrays) and next(folder.glob("*.dat"), None) is None
    if size is None and only_arrays:
        size = array_shape(arrays[0])[1:]
    if size is None:
        raise UserError(
            f"{folder}: the spikes' geometry is unknown; set DATA.SPIKE_HEIGHT and DATA.SPIKE_WIDTH, or write "
            "spike_h and spike_w in a config.yaml there (python -m spikevrt.identify FILE finds it)"
        )
    left, right = data.spike_drop_columns
    format = "uint8" if only_arrays else data.spike_format
    return SpikeGeometry(size[0], size[1] - left - right, format, data.spike_flip, (left, right))


def read_recording_config(path: Path) -> tuple[int, int] | None:
    """(height, width) from SpikeCV's `config.yaml` (spike_h, spike_w), or None where there is no such file."""
    if not path.is_file():
        return None
    try:
        tree = yaml.safe_load(path.read_text("utf-8"))
        size = int(tree["spike_h"]), int(tree["spike_w"])
    except (yaml.YAMLError, KeyError, TypeError, ValueError):
        size = (0, 0)
    if min(size) < 1:
        raise UserError(f"{path}: must hold spike_h and spike_w as positive integers")
    return size
