"""The sizes that VRT accepts, and how its stages are connected: the only place where its geometry is written down."""

from typing import NamedTuple

MULTIPLE = 8
"""H and W must be multiples of this, because the deepest stage works at 1/8 of the resolution."""
LEAST_PIXELS = 33
"""Smallest H and W: SpyNet's coarsest level must hold 2 pixels."""
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
