"""Weights that come with the package, by name; README.md beside them is their model card."""

from pathlib import Path

FOLDER = Path(__file__).parent
SUFFIX = ".safetensors"
TINY, TINY_RGB = "tiny", "tiny-rgb"
SHIPPED = TINY, TINY_RGB
"""VRT+Spike of the preset demo, and its twin without spikes."""


def weights_file(path: str | Path) -> Path:
    """The file that a path, or the name of weights of `SHIPPED`, stands for; a file that is there comes first."""
    path = Path(path)
    return FOLDER / f"{path}{SUFFIX}" if str(path) in SHIPPED and not path.is_file() else path
