"""Steps: a tap and the channels of some groups, which one product takes together."""

from spikevrt_kernels.core.tile_config import MIN_TILE

STEP = 32
"""Channels of a step, unless a group has more."""
WEIGHT_STEP = 128
"""The same where weights' gradients are summed: all sums of a step stay in the registers of 8 warps."""


def padded_width(width: int) -> int:
    """Channels of a group, rounded up to a power of two."""
    return 1 << (width - 1).bit_length()


def groups_of_step(groups: int, padded: int, step: int) -> int:
    """Groups of one step: a power of two that divides their number, if that fills a product's smallest side."""
    whole = max(groups & -groups, -(-MIN_TILE // padded))
    return min(whole, max(1, step // padded))
