"""Pairs of neighbouring frames and the optical flow between them: tiles of pixels, frames of a pair, positions.

Images are tiled by 8 pixels across, so that what lies around a tile is little more than the tile. The 8 stands where it
is used, as in window attention's `scores.py`.
"""

import triton
import triton.language as tl

from spikevrt_kernels.core.launch import pieces


def tiles_over(images: int, H: int, W: int, pixels: int) -> int:
    """Number of tiles of `pixels` (a multiple of 8) that cover so many images."""
    return images * pieces(H, pixels // 8) * pieces(W, 8)


@triton.jit
def tiles_of(H, W, P: tl.constexpr):
    """Number of tiles of P pixels that cover an image."""
    return tl.cdiv(H, P // 8) * tl.cdiv(W, 8)


@triton.jit
def pixels_of(tile, H, W, P: tl.constexpr):
    """Row and column of the pixels of a tile (P,), and which of them exist."""
    across = tl.cdiv(W, 8)
    p = tl.arange(0, P)
    y = tile // across * (P // 8) + p // 8
    x = tile % across * 8 + p % 8
    return y, x, (y < H) & (x < W)


@triton.jit
def frames_of(n, T, PAIRS):
    """The frames (of B*T) of pair n: the neighbour, and the one to align it to; PAIRS = B(T-1) a direction.

    In direction 0 they are t+1 and t, in direction 1 t and t+1.
    """
    pair, direction = n % PAIRS, n // PAIRS
    first = tl.cast(pair // (T - 1) * T + pair % (T - 1), tl.int64)
    return first + 1 - direction, first + direction


@triton.jit
def load_flow(
    flow_ptr,  # (N,2,H,W)
    n, y, x, inside, H, W,
    ACC: tl.constexpr,
):  # fmt: skip
    """Rows and columns that the flow points to, (P,) each in ACC."""
    plane = tl.cast(H, tl.int64) * W
    flow = flow_ptr + 2 * n * plane + y * W + x  # (P,)
    right = tl.load(flow, mask=inside, other=0.0).to(ACC)
    down = tl.load(flow + plane, mask=inside, other=0.0).to(ACC)
    return y.to(ACC) + down, x.to(ACC) + right


@triton.jit
def around(sy, sx, mask, H, W):
    """The pixel above and left of positions (int32), the rests, and which of its rows and columns are in the image.

    Comparisons with NaN are false: such a position, like one far outside, becomes -2, whose neighbours do not exist.
    """
    top, left = tl.floor(sy), tl.floor(sx)
    near = mask & (top >= -1.0) & (top < H) & (left >= -1.0) & (left < W)
    iy, ix = tl.where(near, top, -2.0).to(tl.int32), tl.where(near, left, -2.0).to(tl.int32)
    above, below = iy >= 0, (iy >= -1) & (iy < H - 1)
    before, after = ix >= 0, (ix >= -1) & (ix < W - 1)
    return iy, ix, sy - top, sx - left, above, below, before, after
