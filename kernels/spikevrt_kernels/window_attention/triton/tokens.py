"""Addresses, padding and regions of the tokens of a shifted window, computed from their coordinates.

Nothing is rolled, padded or partitioned in memory. A token's place in the rolled and padded map gives its region; its
place before the roll gives its address, or shows that it is padding, whose q, k, v equal the offsets.
An `extent` is (first place (d,h,w) of a window, size (D,H,W) of the clip, size with padding, shift (d,h,w)).

INNER windows hold no padding, no wrap and a single region: all but the last ones along an axis that is padded or
shifted. Nothing is compared or replaced in them. Where all tokens of a tile exist, their mask is None.
"""

import triton
import triton.language as tl

SIZES = ("D", "H", "W", "nD", "nH", "nW", "shift_d", "shift_h", "shift_w", "windows", "splits", "rows")
"""Numbers that are only divided by or compared; no binary is specialised for their values."""
ANY_PLACE = ("lse_ptr",)
"""May start at any address, and is read one number at a time."""


@triton.jit
def extent_of(window, size, counts, shift, WD: tl.constexpr, WH: tl.constexpr, WW: tl.constexpr):
    """Batch index (int64) and extent of a window, with counts = (nD,nH,nW) windows in a clip of size = (D,H,W)."""
    w, rest = window % counts[2], window // counts[2]
    h, rest = rest % counts[1], rest // counts[1]
    first = (rest % counts[0] * WD, h * WH, w * WW)
    ends = (counts[0] * WD, counts[1] * WH, counts[2] * WW)
    return tl.cast(rest // counts[0], tl.int64), (first, size, ends, shift)


@triton.jit
def is_inner(extent, WD: tl.constexpr, WH: tl.constexpr, WW: tl.constexpr):
    """Whether a window is INNER: moved by the shift, it ends inside the clip.

    The last window along a shifted axis ends outside, since without the shift it ends where the padding does.
    """
    first, size, _ends, shift = extent
    inside_d = first[0] + shift[0] + WD <= size[0]
    inside_h = first[1] + shift[1] + WH <= size[1]
    return inside_d & inside_h & (first[2] + shift[2] + WW <= size[2])


@triton.jit
def both(a, b):
    """Where two masks hold; a mask that is None holds everywhere."""
    return b if a is None else (a if b is None else a & b)


@triton.jit
def below(token, TOKENS: tl.constexpr, TILE: tl.constexpr):
    """Which tokens (TILE,) exist: those below TOKENS; None where tiles divide TOKENS."""
    return None if TOKENS % TILE == 0 else token < TOKENS


@triton.jit
def region_of(rolled, ends, shift, MUTUAL: tl.constexpr):
    """The region of tokens at places (d,h,w) of the rolled map.

    It says, for each axis, whether the token is in the last region of the axis: inside one window this distinguishes
    the three published regions. Mutual attention ignores the region along the frames.
    """
    region = 2 * (rolled[1] >= ends[1] - shift[1]).to(tl.int32) + (rolled[2] >= ends[2] - shift[2]).to(tl.int32)
    if not MUTUAL:
        region += 4 * (rolled[0] >= ends[0] - shift[0]).to(tl.int32)
    return region


@triton.jit
def locate(
    token,  # (T,) places in the window
    inside,  # (T,): whether they exist
    extent,
    WH: tl.constexpr, WW: tl.constexpr, MUTUAL: tl.constexpr, SHIFTED: tl.constexpr, INNER: tl.constexpr,
):  # fmt: skip
    """Row of each token among the D*H*W of its clip (int64), whether it is real, and its region or None.

    Real tokens exist and are not padding.
    """
    first, size, ends, shift = extent
    d, h, w = token // (WH * WW), token // WW % WH, token % WW
    if INNER:
        start = ((first[0] + shift[0]) * size[1] + first[1] + shift[1]) * size[2] + first[2] + shift[2]
        row, real, region = start + (d * size[1] + h) * size[2] + w, inside, None
    else:
        rolled = (first[0] + d, first[1] + h, first[2] + w)
        d, h, w = rolled[0] + shift[0], rolled[1] + shift[1], rolled[2] + shift[2]
        d, h, w = (
            tl.where(d >= ends[0], d - ends[0], d),
            tl.where(h >= ends[1], h - ends[1], h),
            tl.where(w >= ends[2], w - ends[2], w),
        )
        row, real, region = (
            (d * size[1] + h) * size[2] + w,
            both((d < size[0]) & (h < size[1]) & (w < size[2]), inside),
            region_of(rolled, ends, shift, MUTUAL) if SHIFTED else None,
        )
    return tl.cast(row, tl.int64), real, region


@triton.jit
def mask_of(real, E: tl.constexpr, EP: tl.constexpr):
    """The mask of a tile (T,EP) of rows: those that are real, in E channels."""
    fits = None if E == EP else (tl.arange(0, EP) < E)[None, :]
    return fits if real is None else both(real[:, None], fits)


@triton.jit
def load_rows(ptr, row, real, channel, WIDTH: tl.constexpr, E: tl.constexpr, EP: tl.constexpr):
    """Load channels channel .. channel+E of rows of WIDTH: (T,EP), zero beyond E and where a token is not real."""
    pointers = ptr + row[:, None] * WIDTH + (channel + tl.arange(0, EP))[None, :]  # (T,EP)
    mask = mask_of(real, E, EP)
    return tl.load(pointers) if mask is None else tl.load(pointers, mask=mask, other=0.0)


@triton.jit
def store_rows(ptr, row, real, channel, tile, WIDTH: tl.constexpr, E: tl.constexpr, EP: tl.constexpr):
    """The inverse of `load_rows`; converts to the type of the pointer."""
    pointers = ptr + row[:, None] * WIDTH + (channel + tl.arange(0, EP))[None, :]  # (T,EP)
    tl.store(pointers, tile.to(ptr.dtype.element_ty), mask=mask_of(real, E, EP))


@triton.jit
def load_vector(ptr, row, real, OTHER: tl.constexpr):
    """Load a number for each row: (T,), OTHER where a token is not real."""
    return tl.load(ptr + row) if real is None else tl.load(ptr + row, mask=real, other=OTHER)


@triton.jit
def load_offset(
    offset_ptr,  # (3C,), or (TOKENS,3C) in mutual attention
    place,  # (T,)
    wanted,  # (T,)
    part,
    CHANNELS: tl.constexpr, E: tl.constexpr, EP: tl.constexpr, MUTUAL: tl.constexpr,
):  # fmt: skip
    """The offsets of q, k or v: (1,EP), or in mutual attention (T,EP) by place."""
    if MUTUAL:
        offset = load_rows(offset_ptr, place, wanted, part, CHANNELS, E, EP)
    else:
        c = tl.arange(0, EP)
        offset = tl.load(offset_ptr + part + c, mask=c < E, other=0.0)[None, :]
    return offset


@triton.jit
def load_projection(
    ptr,  # (D*H*W,WIDTH) of a clip
    row,  # (T,)
    real,  # (T,)
    offset_ptr,  # (3C,), or (TOKENS,3C) in mutual attention
    place,  # (T,)
    inside,  # (T,)
    part,
    WIDTH: tl.constexpr, CHANNELS: tl.constexpr, E: tl.constexpr, EP: tl.constexpr, MUTUAL: tl.constexpr,
    ADDED: tl.constexpr, INNER: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Load q, k or v of a tile of tokens with their offsets: (T,EP) in ACC, or as in memory if ADDED.

    `part` is its first channel, of WIDTH in memory and CHANNELS in the offset, which in mutual attention depends on
    `place`. If ADDED, only padding still lacks it.
    """
    x = load_rows(ptr, row, real, part, WIDTH, E, EP)  # (T,EP)
    if not ADDED:
        x = x.to(ACC) + load_offset(offset_ptr, place, inside, part, CHANNELS, E, EP, MUTUAL).to(ACC)
    elif not INNER:
        offset = load_offset(offset_ptr, place, both(real == 0, inside), part, CHANNELS, E, EP, MUTUAL)
        x = tl.where(real[:, None], x, offset.to(x.dtype))
    return x


@triton.jit
def load_queries(
    qkv,  # (D*H*W,WIDTH) of a clip
    offset_ptr,  # (3C,), or (TOKENS,3C) in mutual attention
    query,  # (TILE,) places in the window or frame
    frame, extent, head, scale,
    HEADS: tl.constexpr, E: tl.constexpr, EP: tl.constexpr, WIDTH: tl.constexpr, WH: tl.constexpr, WW: tl.constexpr,
    TOKENS: tl.constexpr, MUTUAL: tl.constexpr, SHIFTED: tl.constexpr, ADDED: tl.constexpr, INNER: tl.constexpr,
    TILE: tl.constexpr, DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Load scale * q of a tile: q and regions; rows of q and whether they are real; slots of outputs and whether those
    are.

    In mutual attention the slots of a frame belong to the queries of the other frame.
    """
    inside = below(query, TOKENS, TILE)
    slot, kept, region = locate(frame * TOKENS + query, inside, extent, WH, WW, MUTUAL, SHIFTED, INNER)
    row, real = slot, kept
    if MUTUAL:
        row, real, _ = locate((1 - frame) * TOKENS + query, inside, extent, WH, WW, MUTUAL, False, INNER)
    q = load_projection(
        qkv, row, real, offset_ptr, query, inside, head * E, WIDTH, 3 * HEADS * E, E, EP, MUTUAL, ADDED, INNER, ACC
    )
    return (q.to(ACC) * scale).to(DOT), region, row, real, slot, kept


@triton.jit
def load_keys(
    qkv,  # (D*H*W,WIDTH) of a clip
    offset_ptr,  # (3C,), or (TOKENS,3C) in mutual attention
    key,  # (TILE,) places in the window or frame
    frame, extent, head,
    HEADS: tl.constexpr, E: tl.constexpr, EP: tl.constexpr, WIDTH: tl.constexpr, WH: tl.constexpr, WW: tl.constexpr,
    TOKENS: tl.constexpr, MUTUAL: tl.constexpr, SHIFTED: tl.constexpr, ADDED: tl.constexpr, INNER: tl.constexpr,
    TILE: tl.constexpr, DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Load k and v of a tile: k, v and regions; their rows, and whether they are real."""
    inside = below(key, TOKENS, TILE)
    row, real, region = locate(frame * TOKENS + key, inside, extent, WH, WW, MUTUAL, SHIFTED, INNER)
    C: tl.constexpr = HEADS * E
    k = load_projection(
        qkv, row, real, offset_ptr, key, inside, C + head * E, WIDTH, 3 * C, E, EP, MUTUAL, ADDED, INNER, ACC
    )
    v = load_projection(
        qkv, row, real, offset_ptr, key, inside, 2 * C + head * E, WIDTH, 3 * C, E, EP, MUTUAL, ADDED, INNER, ACC
    )
    return k.to(DOT), v.to(DOT), region, row, real
