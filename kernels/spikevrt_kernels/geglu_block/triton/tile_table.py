"""The tile table: rows, warps and chunks of each kernel, and into how many parts hidden channels are divided."""

from typing import NamedTuple

from spikevrt_kernels.core.launch import pieces
from spikevrt_kernels.core.tile_config import MIN_TILE, WARPGROUPS, Config, padded

OPERATOR = "geglu_block"
NARROW_CHUNK, CHUNK, ONE_TILE = 32, 64, 128
"""Channels of a chunk: in the block's forward, whose tiles have many rows (96 = 3 x 32); in other kernels; and in the
block's first backward kernel where one chunk can hold them all."""
NARROW = 144
"""Channels up to which a program of the block's forward has 128 rows."""
SUMS, SUMS_OF_MANY = 30_720, 20_480
"""Numbers that the sums of one program may consist of, in up to two chunks and in more; with more they would spill."""


class Size(NamedTuple):
    """What decides how many registers a program needs."""

    C: int
    R: int
    """Hidden channels."""
    inputs: int
    """Maps of C channels that the first layers read: 1, or 3 in a fusion."""
    itemsize: int
    """Bytes of a number in a product."""


class Division(NamedTuple):
    """How programs divide the hidden channels among them."""

    RK: int
    """Hidden channels of a slice."""
    slices: int
    """Slices of a part."""
    parts: int


def slice_of(R: int) -> int:
    """Hidden channels of a slice where one program does all of them."""
    return min(NARROW_CHUNK, padded(R))


def chunk(kernel: str, size: Size) -> int:
    """Channels of a chunk; sums of weight gradients need a column more, which sums those of the biases."""
    most = CHUNK
    if size.inputs == 1 and kernel == "forward":
        most = NARROW_CHUNK
    elif size.inputs == 1 and kernel == "bwd_dx" and size.C <= ONE_TILE:
        most = ONE_TILE
    return min(most, padded(size.C + (kernel == "bwd_weights")))


def chunks(kernel: str, size: Size) -> int:
    """Number of chunks that cover the channels."""
    return pieces(size.C + (kernel == "bwd_weights"), chunk(kernel, size))


def division(R: int, parts: int) -> Division:
    """The hidden channels in about `parts` parts of equal slices."""
    hidden = MIN_TILE * pieces(pieces(R, parts), MIN_TILE)
    RK = 2 * MIN_TILE if hidden % (2 * MIN_TILE) == 0 else MIN_TILE
    return Division(RK, hidden // RK, pieces(R, hidden))


def parts_of(size: Size) -> int:
    """Parts whose sums fit the registers of a program."""
    count = chunks("bwd_weights", size)
    columns = (2 * size.inputs + 1) * count * chunk("bwd_weights", size)
    sums = SUMS if count <= 2 else SUMS_OF_MANY
    hidden = sums * 2 // max(2, size.itemsize) // columns
    return pieces(size.R, max(MIN_TILE, hidden // MIN_TILE * MIN_TILE))


def table(size: Size, architecture: int) -> dict[str, Config]:
    """The rows for one size on one architecture."""
    forward = 64
    if size.inputs == 1 and size.C <= NARROW:
        forward = 128
    elif size.inputs == 1 and architecture not in WARPGROUPS:
        forward = 32
    backward = Config(tile_rows(32, size), 8)
    if size.inputs == 1 and size.C <= ONE_TILE and size.itemsize <= 2:
        # 16 rows need no stack, but read the weights more often: only where L1 holds them beside two programs.
        backward = Config(16 if architecture in WARPGROUPS else 32, 4)
    return {
        "forward": Config(tile_rows(forward, size), 8),
        "bwd_dx": backward,
        "bwd_weights": Config(MIN_TILE, 8, parts_of(size)),
    }


def tile_rows(count: int, size: Size) -> int:
    """Rows of a tile that has `count` of them in half precision: of larger numbers it has fewer."""
    return max(MIN_TILE, count * 2 // max(2, size.itemsize))
