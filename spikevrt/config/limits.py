"""The sizes that VRT and the metrics accept, and how VRT's stages are connected: its geometry is only written here."""

from typing import NamedTuple

MULTIPLE = 8
"""H and W must be multiples of this, because the deepest stage works at 1/8 of the resolution."""
LEAST_PIXELS = 33
"""Smallest H and W: SpyNet's coarsest level must hold 2 pixels."""
MOST_PIXELS = 2**16
"""Largest side of frames, crops and spike frames: above that of any camera."""
SSIM_SIDE = 11
"""Height and width of SSIM's window, and so of the smallest frames that can be scored."""
WINDOWS_PER_SIDE = 8
"""H and W must hold this many attention windows, so that one window fits at 1/8 of the resolution."""


class Place(NamedTuple):
    """Where a stage stands in the encoder-decoder."""

    reshape: str
    """How features are resized before the stage: none, down or up."""
    scale: int
    """Downsampling factor at which the stage works."""
    skip: int | None = None
    """The stage (from 0) whose output is added to this stage's output."""


PLACES = (
    Place("none", 1),
    Place("down", 2),
    Place("down", 4),
    Place("down", 8),
    Place("up", 4, skip=2),
    Place("up", 2, skip=1),
    Place("up", 1, skip=0),
)
"""Stages 1-7 of VRT; stage 8 consists of the groups that follow."""
ENCODER_STAGES = 4
"""Number of encoder stages, one per scale; spike features are fused after each of them."""


def least_side(window: int) -> int:
    """The smallest H or W in pixels along which the attention window has `window` pixels."""
    return max(LEAST_PIXELS, WINDOWS_PER_SIDE * window)
