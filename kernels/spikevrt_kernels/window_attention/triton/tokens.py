"""Addresses, padding, regions and bias of the tokens of a shifted window, computed from their coordinates.

Nothing is rolled, padded, partitioned or expanded in memory. A token's place in the rolled and padded map gives its
region; its place before the roll gives its address, or shows that it is padding, whose q, k, v equal the offsets.
An `extent` is (first place (d,h,w) of a window, size (D,H,W) of the clip, size with padding, shift (d,h,w)).
"""

import triton
import triton.language as tl

from spikevrt_kernels.core.triton_math import add_dot

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
def locate(token, extent, WH: tl.constexpr, WW: tl.constexpr, MUTUAL: tl.constexpr, SHIFTED: tl.constexpr):
    """Row of each token among the D*H*W of its clip (int64), whether it is not padding, and its region if SHIFTED.

    A region here says, for each axis, whether the token is in the last region of the axis: inside one window this
    distinguishes the three published regions. Mutual attention ignores the region along the frames.
    """
    first, size, ends, shift = extent
    d, h, w = first[0] + token // (WH * WW), first[1] + token // WW % WH, first[2] + token % WW
    region = token
    if SHIFTED:
        region = 2 * (h >= ends[1] - shift[1]).to(tl.int32) + (w >= ends[2] - shift[2]).to(tl.int32)
        if not MUTUAL:
            region += 4 * (d >= ends[0] - shift[0]).to(tl.int32)
    d, h, w = d + shift[0], h + shift[1], w + shift[2]
    d, h, w = (
        tl.where(d >= ends[0], d - ends[0], d),
        tl.where(h >= ends[1], h - ends[1], h),
        tl.where(w >= ends[2], w - ends[2], w),
    )
    real = (d < size[0]) & (h < size[1]) & (w < size[2])
    return tl.cast((d * size[1] + h) * size[2] + w, tl.int64), real, region


@triton.jit
def load_rows(ptr, row, real, channel, WIDTH: tl.constexpr, E: tl.constexpr, EP: tl.constexpr):
    """Load channels channel .. channel+E of rows of WIDTH: (T,EP), zero beyond E and where a token is not real."""
    c = tl.arange(0, EP)  # (EP,)
    pointers = ptr + row[:, None] * WIDTH + (channel + c)[None, :]  # (T,EP)
    return tl.load(pointers, mask=real[:, None] & (c < E)[None, :], other=0.0)


@triton.jit
def store_rows(ptr, row, real, channel, tile, WIDTH: tl.constexpr, E: tl.constexpr, EP: tl.constexpr):
    """The inverse of `load_rows`; converts to the type of the pointer."""
    c = tl.arange(0, EP)  # (EP,)
    pointers = ptr + row[:, None] * WIDTH + (channel + c)[None, :]  # (T,EP)
    tl.store(pointers, tile.to(ptr.dtype.element_ty), mask=real[:, None] & (c < E)[None, :])


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
    DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Load q, k or v of a tile of tokens and add the offset: (T,EP) in DOT.

    `part` is its first channel, of WIDTH in memory and CHANNELS in the offset, which in mutual attention depends on
    `place`.
    """
    c = part + tl.arange(0, EP)
    fits = tl.arange(0, EP) < E
    x = load_rows(ptr, row, real, part, WIDTH, E, EP).to(ACC)  # (T,EP)
    if MUTUAL:
        pointers = offset_ptr + place[:, None] * CHANNELS + c[None, :]
        x += tl.load(pointers, mask=inside[:, None] & fits[None, :], other=0.0).to(ACC)
    else:
        x += tl.load(offset_ptr + c, mask=fits, other=0.0).to(ACC)[None, :]
    return x.to(DOT)


@triton.jit
def load_queries(
    qkv,  # (D*H*W,WIDTH) of a clip
    offset_ptr,  # (3C,), or (TOKENS,3C) in mutual attention
    query,  # (T,) places in the window or frame
    frame, extent, head,
    HEADS: tl.constexpr, E: tl.constexpr, EP: tl.constexpr, WIDTH: tl.constexpr, WH: tl.constexpr, WW: tl.constexpr,
    TOKENS: tl.constexpr, MUTUAL: tl.constexpr, SHIFTED: tl.constexpr, DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Load q of a tile: q and regions; rows of q and whether they are real; slots of outputs and whether those are.

    In mutual attention the slots of a frame belong to the queries of the other frame.
    """
    inside = query < TOKENS
    slot, kept, region = locate(frame * TOKENS + query, extent, WH, WW, MUTUAL, SHIFTED)
    row, real = slot, kept
    if MUTUAL:
        row, real, _ = locate((1 - frame) * TOKENS + query, extent, WH, WW, MUTUAL, False)
    real &= inside
    q = load_projection(
        qkv, row, real, offset_ptr, query, inside, head * E, WIDTH, 3 * HEADS * E, E, EP, MUTUAL, DOT, ACC
    )
    return q, region, row, real, slot, kept & inside


@triton.jit
def load_keys(
    qkv,  # (D*H*W,WIDTH) of a clip
    offset_ptr,  # (3C,), or (TOKENS,3C) in mutual attention
    key,  # (T,) places in the window or frame
    frame, extent, head,
    HEADS: tl.constexpr, E: tl.constexpr, EP: tl.constexpr, WIDTH: tl.constexpr, WH: tl.constexpr, WW: tl.constexpr,
    TOKENS: tl.constexpr, MUTUAL: tl.constexpr, SHIFTED: tl.constexpr, DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Load k and v of a tile: k, v and regions; their rows, and whether they are real."""
    inside = key < TOKENS
    row, real, region = locate(frame * TOKENS + key, extent, WH, WW, MUTUAL, SHIFTED)
    real &= inside
    C: tl.constexpr = HEADS * E
    k = load_projection(qkv, row, real, offset_ptr, key, inside, C + head * E, WIDTH, 3 * C, E, EP, MUTUAL, DOT, ACC)
    v = load_projection(
        qkv, row, real, offset_ptr, key, inside, 2 * C + head * E, WIDTH, 3 * C, E, EP, MUTUAL, DOT, ACC
    )
    return k, v, region, row, real


@triton.jit
def bias_code(token, BH: tl.constexpr, BW: tl.constexpr):
    """A number whose difference for two tokens is their offset in rows of the table of a window (.,BH,BW)."""
    return (token // (BH * BW) * (2 * BH - 1) + token // BW % BH) * (2 * BW - 1) + token % BW


@triton.jit
def load_bias(
    table_ptr,  # ((2BD-1)*(2BH-1)*(2BW-1),HEADS), or None in mutual attention
    token_a,  # (TA,)
    token_b,  # (TB,)
    head,
    HEADS: tl.constexpr, BD: tl.constexpr, BH: tl.constexpr, BW: tl.constexpr, TOKENS: tl.constexpr,
    KEYS_FIRST: tl.constexpr, MUTUAL: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Load the bias of two tiles of tokens, by their numbers in the window: (TA,TB), queries by keys or KEYS_FIRST.

    A smaller window takes its tokens' places from the table's window (BD,BH,BW), as the published model does. Mutual
    attention has no bias.
    """
    bias = None
    if not MUTUAL:
        centre: tl.constexpr = ((BD - 1) * (2 * BH - 1) + BH - 1) * (2 * BW - 1) + BW - 1
        distance = bias_code(token_a, BH, BW)[:, None] - bias_code(token_b, BH, BW)[None, :]  # (TA,TB)
        row = centre - distance if KEYS_FIRST else centre + distance
        inside = (token_a < TOKENS)[:, None] & (token_b < TOKENS)[None, :]
        bias = tl.load(table_ptr + row * HEADS + head, mask=inside, other=0.0).to(ACC)
    return bias


@triton.jit
def scores_of(
    a,  # (TA,EP) DOT
    b,  # (TB,EP) DOT
    bias,  # (TA,TB) ACC, or None
    token_a,  # (TA,)
    token_b,  # (TB,)
    region_a,  # (TA,), read if SHIFTED
    region_b,  # (TB,), read if SHIFTED
    scale,
    TOKENS: tl.constexpr, TA: tl.constexpr, TB: tl.constexpr, KEYS_FIRST: tl.constexpr, SHIFTED: tl.constexpr,
    DOT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """scale q k^T + bias + mask of two tiles of tokens: (TA,TB), queries by keys or KEYS_FIRST."""
    scores = add_dot(tl.zeros((TA, TB), ACC), a, tl.trans(b), DOT, ACC) * scale  # (TA,TB)
    if bias is not None:
        scores += bias
    if SHIFTED:
        # Finite, as in the training of the published weights.
        scores += tl.where(region_a[:, None] != region_b[None, :], -100.0, 0.0).to(ACC)
    if TOKENS % (TA if KEYS_FIRST else TB) != 0:
        keys = (token_a < TOKENS)[:, None] if KEYS_FIRST else (token_b < TOKENS)[None, :]
        scores = tl.where(keys, scores, float("-inf"))
    return scores
