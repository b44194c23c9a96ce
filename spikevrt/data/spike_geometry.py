"""How a spike recording is laid out, and where that is written down."""

from dataclasses import dataclass
from pathlib import Path

import yaml

from spikevrt.config import DataConfig
from spikevrt.errors import UserError

KNOWN = ((250, 400), (250, 416), (1000, 1000), (360, 640), (384, 384), (256, 256), (180, 320), (500, 800))
"""Stored sizes (height, width) of the cameras and data sets of the field."""


@dataclass(frozen=True)
class SpikeGeometry:
    """One spike frame as stored: `packed` one bit a pixel (least significant first), `uint8` one byte."""

    height: int
    width: int
    format: str = "packed"
    flip: bool = True
    """Rows are stored upside down."""

    def __post_init__(self) -> None:
        if self.format == "packed" and self.height * self.width % 8:
            raise UserError(
                f"spike geometry {self.height}x{self.width}: {self.height * self.width} bits are not whole bytes; "
                "check DATA.SPIKE_HEIGHT and DATA.SPIKE_WIDTH"
            )

    @property
    def frame_bytes(self) -> int:
        """Bytes of one stored frame."""
        pixels = self.height * self.width
        return pixels // 8 if self.format == "packed" else pixels

    def __str__(self) -> str:
        return f"{self.height}x{self.width} {self.format}"


def fitting_geometries(size: int) -> str:
    """The known packed geometries whose frames divide `size` bytes, in words."""
    fits = [f"{h}x{w} ({size * 8 // (h * w)} frames)" for h, w in KNOWN if size and size * 8 % (h * w) == 0]
    return ", ".join(fits) or "none of the known ones"


def geometry_for(folder: Path, data: DataConfig) -> SpikeGeometry:
    """Geometry of the recordings in `folder`: DATA.SPIKE_HEIGHT and SPIKE_WIDTH, else `config.yaml` there.

    Raises:
        UserError: neither says.
    """
    if data.spike_height is not None and data.spike_width is not None:
        return SpikeGeometry(data.spike_height, data.spike_width, data.spike_format, data.spike_flip)
    size = read_recording_config(folder / "config.yaml")
    if size is None:
        raise UserError(
            f"{folder}: the spikes' geometry is unknown; set DATA.SPIKE_HEIGHT and DATA.SPIKE_WIDTH, or write "
            "spike_h and spike_w in a config.yaml there"
        )
    return SpikeGeometry(*size, data.spike_format, data.spike_flip)


def read_recording_config(path: Path) -> tuple[int, int] | None:
    """(height, width) from SpikeCV's `config.yaml` (spike_h, spike_w), or None where there is no such file."""
    if not path.is_file():
        return None
    try:
        tree = yaml.safe_load(path.read_text("utf-8"))
        return int(tree["spike_h"]), int(tree["spike_w"])
    except (yaml.YAMLError, KeyError, TypeError, ValueError):
        raise UserError(f"{path}: must hold spike_h and spike_w as integers") from None
