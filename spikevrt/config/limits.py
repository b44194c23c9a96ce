"""What sizes VRT can take, and how its stages hang together: the one place where the model's geometry stands."""

from typing import NamedTuple

MULTIPLE = 8
"""H and W are multiples of it: the deepest stage works at 1/8."""
LEAST_PIXELS = 33
"""SpyNet's coarsest level must hold 2 pixels."""
WINDOWS_PER_SIDE = 8
"""At 1/8 one attention window must fit."""


class Place(NamedTuple):
    """Of a stage in the encoder-decoder."""

    reshape: str
    """Before it: none, down or up."""
    scale: int
    """Downsampling factor."""
    skip: int | None = None
    """The stage (from 0) whose output is added to this one's."""


PLACES = (
    Place("none", 1),
    Place("down", 2),
    Place("down", 4),
    Place("down", 8),
    Place("up", 4, skip=2),
    Place("up", 2, skip=1),
    Place("up", 1, skip=0),
)
"""VRT's stages 1-7; the groups after them form stage 8."""
ENCODER_STAGES = 4
"""The first ones, one for each scale: spike features are fused after each."""


def least_side(window: int) -> int:
    """Pixels that H or W must have at least, for attention windows of `window` pixels along it."""
    return max(LEAST_PIXELS, WINDOWS_PER_SIDE * window)
