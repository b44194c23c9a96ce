"""Steps: a tap and the channels of some groups, which one product takes together; and what a backward program holds."""

from typing import NamedTuple

from spikevrt_kernels.core.launch import pieces
from spikevrt_kernels.core.tile_config import MIN_TILE
from spikevrt_kernels.deform_conv.reference import TAPS

STEP = 32
"""Channels of a step, unless a group has more."""
CHUNK = 32
"""Outputs of one accumulator."""
MOST_SUMS = TAPS * STEP * 96
"""Sums of weights' gradients of one program: more do not fit into the registers of 8 warps beside a step."""


def padded_width(width: int) -> int:
    """Channels of a group, rounded up to a power of two."""
    return 1 << (width - 1).bit_length()


def groups_of_step(groups: int, padded: int, step: int) -> int:
    """Groups of one step: a power of two that divides their number, if that fills a product's smallest side."""
    whole = max(groups & -groups, -(-MIN_TILE // padded))
    return min(whole, max(1, step // padded))


def chunk_of(outputs: int) -> int:
    """Outputs of one accumulator."""
    return CHUNK if outputs > MIN_TILE else MIN_TILE


class Share(NamedTuple):
    """What one backward program computes of a tile."""

    groups: int
    """Groups of a step, all of the program's."""
    taps: int
    """9, 3 (a row of the window) or 1."""
    blocks: int
    """Programs that divide the groups; each of them reads dout."""
    tap_parts: int
    """Programs that divide the taps; each of them reads dout and gathers and scatters around every pixel."""


def backward_share(groups: int, width: int, outputs: int) -> Share:
    """The share whose sums stay in registers: all taps if possible, then as many groups as possible.

    Args:
        groups: deformable groups.
        width: channels of x.
        outputs: output channels.
    """
    padded, chunk = padded_width(width // groups), chunk_of(outputs)
    columns = pieces(outputs, chunk) * chunk
    choices = [(groups_of_step(groups, padded, step), taps) for taps in (TAPS, 3, 1) for step in (STEP, MIN_TILE)]
    held, taps = next((c for c in choices if c[0] * padded * c[1] * columns <= MOST_SUMS), choices[-1])
    return Share(held, taps, pieces(groups, held), TAPS // taps)
