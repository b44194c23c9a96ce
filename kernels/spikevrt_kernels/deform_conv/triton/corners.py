"""How the backward reads around positions: four corners as one tile of places and one of bits.

The forward, which keeps less at a time, takes fewer instructions with a mask for each corner.
"""

import triton
import triton.language as tl

from spikevrt_kernels.core.triton_pairs import around


@triton.jit
def corners_of(sy, sx, mask, H, W):
    """Where four pixels are around positions: y*W + x of the first, the rests, and which exist: (P,GC) each.

    Corner k (above before, above after, below before, below after) exists where bit k is set. Each (P,GC) tile that
    is spread over channels costs a barrier, so four masks are one tile.
    """
    iy, ix, ry, rx, above, below, before, after = around(sy, sx, mask, H, W)
    exist = (above & before).to(tl.int32) | ((above & after).to(tl.int32) << 1)
    exist |= ((below & before).to(tl.int32) << 2) | ((below & after).to(tl.int32) << 3)
    return iy * W + ix, ry, rx, exist


@triton.jit
def step_channels(g, C: tl.constexpr, G: tl.constexpr, EP: tl.constexpr):
    """The channels of groups g (GC,), padded, and 1 where they exist, else 0: (1,GC,EP) int32."""
    E: tl.constexpr = C // G
    e = tl.arange(0, EP)[None, None, :]
    channel = (g * E)[None, :, None] + e
    return channel, tl.where((g < G)[None, :, None] & (e < E), 1, 0)


@triton.jit
def corner_exists(
    exist,  # (P,GC) int32
    real,  # (1,GC,EP) int32
    CORNER: tl.constexpr,
):  # fmt: skip
    """Which numbers of a corner exist: (P,GC,EP)."""
    return (exist[:, :, None] & (real << CORNER)) != 0


@triton.jit
def load_corners(
    at,  # (P,GC,EP) pointers to the first of four corners
    exist,  # (P,GC) int32
    real,  # (1,GC,EP) int32
    W,
    C: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """The channels of groups at four corners: (P,GC,EP) each in ACC, zero outside the image."""
    a = tl.load(at, mask=corner_exists(exist, real, 0), other=0.0).to(ACC)
    b = tl.load(at + C, mask=corner_exists(exist, real, 1), other=0.0).to(ACC)
    c = tl.load(at + W * C, mask=corner_exists(exist, real, 2), other=0.0).to(ACC)
    d = tl.load(at + W * C + C, mask=corner_exists(exist, real, 3), other=0.0).to(ACC)
    return a, b, c, d
