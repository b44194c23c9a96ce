"""Counts spikes directly in the stored bytes with bit-sliced vertical counters; nothing is unpacked.

Adding a spike frame to the counters of 256 pixels takes a few logical operations (a carry-save adder). Once per bin
the planes are spread to one byte per pixel (`bit_counters.py`).

n spike frames of H x W stored pixels, K bins, a crop of h x w. Arrays are flat, because creating views would take
longer than counting.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from spikevrt_kernels.core.numba_jit import compiled
from spikevrt_kernels.voxelize.bit_counters import (
    BLOCK,
    BLOCK_BYTES,
    GROUP,
    PLANES,
    WORD,
    WORDS,
    add_1_to_2,
    add_1_to_4,
    add_1_to_8,
    add_1_to_16,
    add_8_to_4,
    add_8_to_8,
    add_8_to_16,
    add_spread_4,
    clear_4,
    clear_16,
    spread_2,
    spread_4,
)

View = tuple[int, int, bool, tuple[int, int, int, int]]
"""Height and width of a stored frame; whether rows are stored upside down; and the crop (top, left, h, w), whose rows
are upright and whose columns are stored ones."""
Scratch = tuple[NDArray[np.uint64], NDArray[np.uint8], NDArray[np.uint8]]
"""Memory for planes (PLANES * WORDS,), the counts of a word (WORD,), and a recording's last bytes (BLOCK_BYTES,)."""


@numba.njit(inline="always")
def levels_of(frames: int) -> int:
    """Number of planes that can count to `frames`: 2, 4, 8 or 16."""
    if frames < 4:
        return 2
    if frames < 16:
        return 4
    return 8 if frames < 256 else 16


@numba.njit(inline="always")
def add_one(data: NDArray[np.uint8], byte: int, levels: int, planes: NDArray[np.uint64]) -> None:
    """Add one frame of a block to the counters."""
    if levels == 2:
        add_1_to_2(data, byte, 0, planes)
    elif levels == 4:
        add_1_to_4(data, byte, 0, planes)
    elif levels == 8:
        add_1_to_8(data, byte, 0, planes)
    else:
        add_1_to_16(data, byte, 0, planes)


@numba.njit(inline="always")
def add_group(data: NDArray[np.uint8], byte: int, stride: int, levels: int, planes: NDArray[np.uint64]) -> None:
    """Add eight frames, which are `stride` bytes apart, to the counters."""
    if levels == 4:
        add_8_to_4(data, byte, stride, planes)
    elif levels == 8:
        add_8_to_8(data, byte, stride, planes)
    else:
        add_8_to_16(data, byte, stride, planes)


@numba.njit(inline="always")
def count_block(
    data: NDArray[np.uint8],
    stride: int,
    byte: int,
    start: int,
    stop: int,
    levels: int,
    planes: NDArray[np.uint64],  # (PLANES * WORDS,)
    end: NDArray[np.uint8],  # (BLOCK_BYTES,)
) -> None:
    """Count 256 pixels from `byte` of every frame on; pixels beyond a row are counted, but never stored."""
    if levels <= 4:
        clear_4(planes)
    else:
        clear_16(planes)
    t = start
    while t + GROUP <= stop and (t + GROUP - 1) * stride + byte + BLOCK_BYTES <= len(data):
        add_group(data, t * stride + byte, stride, levels, planes)
        t += GROUP
    while t < stop:
        at = t * stride + byte
        if at + BLOCK_BYTES <= len(data):
            add_one(data, at, levels, planes)
        else:
            # Bytes after the end of the recording are not read.
            for i in range(BLOCK_BYTES):
                end[i] = data[at + i] if at + i < len(data) else 0
            add_one(end, 0, levels, planes)
        t += 1


@numba.njit(inline="always")
def shift_planes(planes: NDArray[np.uint64], levels: int, shift: int) -> None:
    """Shift the planes so that pixel `shift` becomes pixel 0."""
    right = np.uint64(shift)
    left = np.uint64(WORD) - right
    for i in range(levels * WORDS):
        planes[i] >>= right
        if i % WORDS < WORDS - 1:
            planes[i] |= planes[i + 1] << left


@numba.njit(inline="always")
def spread(octets: NDArray[np.uint8], x: int, planes: NDArray[np.uint64], word: int, levels: int) -> None:
    """Set octets[x : x + 64] to the lowest 8 bits of the counts of a word."""
    if levels == 2:
        spread_2(octets, x, planes, word)
        return
    spread_4(octets, x, planes, word)
    if levels > 4:
        add_spread_4(octets, x, planes, word)


@numba.njit(inline="always")
def store_block(
    planes: NDArray[np.uint64],
    levels: int,
    out: NDArray,  # flat
    at: int,
    count: int,
    room: int,
    low: NDArray[np.uint8],  # scratch (WORD,)
    high: NDArray[np.uint8] | None,  # scratch (WORD,), or None where a count is a byte
) -> None:
    """Set out[at : at + count] to the counts. Up to `room` values are written; the next block overwrites the rest."""
    for j in range(WORDS):
        here, start = min(count - j * WORD, WORD), at + j * WORD
        if here <= 0:
            return
        if high is None:
            if room >= (j + 1) * WORD:
                spread(out, start, planes, j, levels)
                continue
            spread(low, 0, planes, j, levels)
            for x in range(here):
                out[start + x] = low[x]
            continue
        spread(low, 0, planes, j, levels)
        high[:] = 0
        if levels == PLANES:
            spread(high, 0, planes, j + 8 * WORDS, 8)
        for x in range(here):
            out[start + x] = np.uint16(low[x]) | np.uint16(high[x]) << np.uint16(8)


# Without Numba's reference counting: its atomic operations on the arrays would take most of the time.
@compiled(_nrt=False)
def voxelize_bin(
    data: NDArray[np.uint8],  # n * H * W / 8, flat
    out: NDArray,  # K * h * w, flat: uint8 or uint16
    edges: NDArray[np.int64],  # (K + 1,) first frame of each bin, and n
    view: View,
    k: int,
    scratch: tuple[
        NDArray[np.uint64], NDArray[np.uint8], NDArray[np.uint8]
    ],  # (PLANES * WORDS,) (WORD,) (BLOCK_BYTES,)
    high: NDArray[np.uint8] | None,  # scratch (WORD,), or None where out is uint8
) -> None:
    """Count the spikes of bin k."""
    height, width, flip, (top, left, h, w) = view
    planes, low, end = scratch
    start, stop = edges[k], edges[k + 1]
    levels = levels_of(stop - start)
    for y in range(h):
        line = height - 1 - top - y if flip else top + y
        # A row may start inside a byte: counting starts at that byte, and the result is shifted once per bin.
        byte, shift = (line * width + left) >> 3, (line * width + left) & 7
        x = 0
        while x < w:
            count_block(data, height * width // 8, byte + x // 8, start, stop, levels, planes, end)
            here = min(BLOCK, w - x)
            if shift:
                shift_planes(planes, levels, shift)
                here = min(BLOCK - 8, w - x)
            store_block(planes, levels, out, (k * h + y) * w + x, here, w - x, low, high)
            x += here


@compiled()
def voxelize_packed_kernel(data, out, edges, view, high):  # type: ignore[no-untyped-def]
    """Count all bins on the calling thread, without the GIL, for workers that load data. See `voxelize_bin`."""
    scratch = np.empty(PLANES * WORDS, np.uint64), np.empty(WORD, np.uint8), np.empty(BLOCK_BYTES, np.uint8)
    for k in range(len(edges) - 1):
        voxelize_bin(data, out, edges, view, k, scratch, high)


@compiled()
def voxelize_bytes_kernel(
    data: NDArray[np.uint8],  # n * H * W, flat
    out: NDArray,  # K * h * w, flat: uint8 or uint16
    edges: NDArray[np.int64],
    view: View,
) -> int:
    """Count spikes stored with one byte per pixel. Returns the OR of the crop's bytes; if above 1, `out` is invalid."""
    height, width, flip, (top, left, h, w) = view
    counts, seen = np.empty(w, np.uint16), np.zeros(w, np.uint8)
    for k in range(len(edges) - 1):
        for y in range(h):
            row = height - 1 - top - y if flip else top + y
            counts[:] = 0
            for t in range(edges[k], edges[k + 1]):
                at = (t * height + row) * width + left
                for x in range(w):
                    counts[x] += data[at + x]
                    seen[x] |= data[at + x]
            if seen.max() > 1:
                return 255
            for x in range(w):
                out[(k * h + y) * w + x] = counts[x]
    return 1
