"""VRT+Spike: video deblurring with an RGB camera and a spike camera."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spikevrt.restoration.stream import Restorer

__all__ = ["Restorer", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """`Restorer`, imported when it is first asked for: it needs PyTorch, and `--help` does not."""
    if name == "Restorer":
        from spikevrt.restoration.stream import Restorer

        return Restorer
    raise AttributeError(f"module 'spikevrt' has no attribute {name!r}")
