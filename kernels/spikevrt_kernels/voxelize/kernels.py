"""Voxels in Numba, straight from the stored bytes: serial and without the GIL, for workers that load data."""

import numba
import numpy as np
from numpy.typing import NDArray


@numba.njit(nogil=True, cache=True)
def voxelize_packed_kernel(
    packed: NDArray[np.uint8],  # (n, H*W/8)
    counts: NDArray,  # (K, h, w), zeros
    bins: NDArray[np.int64],  # (n,)
    height: int,
    width: int,
    flip: bool,
    top: int,
    left: int,
) -> None:
    h, w = counts.shape[1:]
    for t in range(packed.shape[0]):
        for y in range(h):
            row = top + y
            if flip:
                row = height - 1 - row
            # Rows follow each other without padding: a row may start inside a byte.
            bit = row * width + left
            for x in range(w):
                counts[bins[t], y, x] += (packed[t, bit >> 3] >> (bit & 7)) & 1
                bit += 1


@numba.njit(nogil=True, cache=True)
def voxelize_bytes_kernel(
    stored: NDArray[np.uint8],  # (n, H*W) of 0 and 1
    counts: NDArray,  # (K, h, w), zeros
    bins: NDArray[np.int64],  # (n,)
    height: int,
    width: int,
    flip: bool,
    top: int,
    left: int,
) -> None:
    h, w = counts.shape[1:]
    for t in range(stored.shape[0]):
        for y in range(h):
            row = top + y
            if flip:
                row = height - 1 - row
            for x in range(w):
                counts[bins[t], y, x] += stored[t, row * width + left + x]
