"""Voxels straight from the stored bytes: bit-sliced vertical counters, nothing is unpacked.

Adding a spike frame to the counters of 256 pixels is a few logical operations (a carry-save adder); the planes are
spread to one byte a pixel once a bin (`words.py`).

n spike frames of H x W stored pixels, K bins, a crop of h x w. Arrays are flat: views cost more than the counting.
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
    look_up,
    spread_2,
    spread_4,
)

ROWS = 32
"""Rows of one task of the parallel kernel."""


@numba.njit(inline="always")
def levels_of(frames: int) -> int:
    """Planes that count up to `frames`: 2, 4, 8 or 16."""
    if frames < 4:
        return 2
    if frames < 16:
        return 4
    return 8 if frames < 256 else 16


@numba.njit(inline="always")
def add_one(data: NDArray[np.uint8], byte: int, levels: int, planes: NDArray[np.uint64]) -> None:
    """One frame of a block onto the counters."""
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
    """Eight frames, `stride` bytes apart."""
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
    """Planes of the 256 pixels from `byte` of every frame on; those beyond a row are counted and never stored."""
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
            # No byte beyond the recording is touched.
            for i in range(BLOCK_BYTES):
                end[i] = data[at + i] if at + i < len(data) else 0
            add_one(end, 0, levels, planes)
        t += 1


@numba.njit(inline="always")
def shift_planes(planes: NDArray[np.uint64], levels: int, shift: int) -> None:
    """Pixel `shift` becomes pixel 0."""
    right = np.uint64(shift)
    left = np.uint64(WORD) - right
    for i in range(levels * WORDS):
        planes[i] >>= right
        if i % WORDS < WORDS - 1:
            planes[i] |= planes[i + 1] << left


@numba.njit(inline="always")
def spread(octets: NDArray[np.uint8], x: int, planes: NDArray[np.uint64], word: int, levels: int) -> None:
    """octets[x : x + 64] = lowest 8 bits of the counts of a word."""
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
    table: NDArray | None,
    row: int,
    at: int,
    count: int,
    room: int,
    low: NDArray[np.uint8],  # (WORD,)
    high: NDArray[np.uint8],  # (WORD,)
) -> None:
    """out[at : at + count] = counts, or table[row + counts]; up to `room` may be written, the next block mends it."""
    for j in range(WORDS):
        here, start = min(count - j * WORD, WORD), at + j * WORD
        if here <= 0:
            return
        whole = room >= (j + 1) * WORD
        if table is None:
            if whole:
                spread(out, start, planes, j, levels)
                continue
            spread(low, 0, planes, j, levels)
            for x in range(here):
                out[start + x] = low[x]
            continue
        spread(low, 0, planes, j, levels)
        if levels == PLANES:
            spread(high, 0, planes, j + 8 * WORDS, 8)
            for x in range(here):
                out[start + x] = table[row + (np.intp(low[x]) | np.intp(high[x]) << 8)]
        elif whole:
            look_up(out, start, low, table, row)  # type: ignore[call-arg]
        else:
            for x in range(here):
                out[start + x] = table[row + low[x]]


# Without Numba's reference counting, whose atomic operations on the arrays would take most of the time.
@compiled(_nrt=False)
def voxelize_rows(
    data: NDArray[np.uint8],  # n * H * W / 8, flat
    out: NDArray,  # K * h * w, flat: uint8 counts, or values of the table's type
    table: NDArray | None,  # 2 * (n // K + 2), flat: for bins of n // K frames, then of one more
    edges: NDArray[np.int64],  # (K + 1,) first frame of each bin, and n
    height: int,
    width: int,
    flip: bool,
    crop: tuple[int, int, int, int],  # in stored columns and upright rows
    k: int,
    first: int,
    last: int,
    planes: NDArray[np.uint64],  # scratch (PLANES * WORDS,)
    low: NDArray[np.uint8],  # scratch (WORD,)
    high: NDArray[np.uint8],  # scratch (WORD,)
    end: NDArray[np.uint8],  # scratch (BLOCK_BYTES,)
) -> None:
    """Bin k of rows `first` .. `last`."""
    top, left, h, w = crop
    start, stop = edges[k], edges[k + 1]
    shortest = edges[-1] // (len(edges) - 1)
    levels, row = levels_of(stop - start), (stop - start - shortest) * (shortest + 2)
    for y in range(first, last):
        line = height - 1 - top - y if flip else top + y
        # A row may start inside a byte: the counters start at that byte, and are shifted once a bin.
        byte, shift = (line * width + left) >> 3, (line * width + left) & 7
        x = 0
        while x < w:
            count_block(data, height * width // 8, byte + x // 8, start, stop, levels, planes, end)
            here = min(BLOCK, w - x)
            if shift:
                shift_planes(planes, levels, shift)
                here = min(BLOCK - 8, w - x)
            store_block(planes, levels, out, table, row, (k * h + y) * w + x, here, w - x, low, high)
            x += here


@compiled()
def voxelize_packed_kernel(data, out, table, edges, height, width, flip, crop):  # type: ignore[no-untyped-def]
    """All bins on the calling thread, without the GIL: for workers that load data. See `voxelize_rows`."""
    planes, end = np.empty(PLANES * WORDS, np.uint64), np.empty(BLOCK_BYTES, np.uint8)
    low, high = np.empty(WORD, np.uint8), np.empty(WORD, np.uint8)
    for k in range(len(edges) - 1):
        voxelize_rows(data, out, table, edges, height, width, flip, crop, k, 0, crop[2], planes, low, high, end)


@compiled(parallel=True)
def voxelize_packed_parallel_kernel(data, out, table, edges, height, width, flip, crop):  # type: ignore[no-untyped-def]
    """The same on Numba's threads: for commands."""
    blocks = (crop[2] + ROWS - 1) // ROWS
    for task in numba.prange((len(edges) - 1) * blocks):
        k, first = task // blocks, task % blocks * ROWS
        last = min(first + ROWS, crop[2])
        planes, end = np.empty(PLANES * WORDS, np.uint64), np.empty(BLOCK_BYTES, np.uint8)
        low, high = np.empty(WORD, np.uint8), np.empty(WORD, np.uint8)
        voxelize_rows(data, out, table, edges, height, width, flip, crop, k, first, last, planes, low, high, end)


@compiled()
def voxelize_bytes_kernel(
    data: NDArray[np.uint8],  # n * H * W, flat
    out: NDArray,  # K * h * w, flat: counts, or values of the table's type
    table: NDArray | None,
    edges: NDArray[np.int64],
    height: int,
    width: int,
    flip: bool,
    crop: tuple[int, int, int, int],
) -> int:
    """One byte a pixel. Returns all bytes of the crop OR-ed together: above 1 they are no spikes, and `out` is void."""
    top, left, h, w = crop
    bins = len(edges) - 1
    counts, seen = np.empty(w, np.uint16), np.zeros(w, np.uint8)
    for k in range(bins):
        start, stop, shortest = edges[k], edges[k + 1], edges[-1] // bins
        row_of_table = (stop - start - shortest) * (shortest + 2)
        for y in range(h):
            row = height - 1 - top - y if flip else top + y
            counts[:] = 0
            for t in range(start, stop):
                at = (t * height + row) * width + left
                for x in range(w):
                    counts[x] += data[at + x]
                    seen[x] |= data[at + x]
            if seen.max() > 1:
                return 255
            for x in range(w):
                if table is None:
                    out[(k * h + y) * w + x] = counts[x]
                else:
                    out[(k * h + y) * w + x] = table[row_of_table + counts[x]]
    return 1
