"""The public function: stored spike bytes to counts, or to normalised values."""

import numpy as np
from numpy.typing import NDArray

from spikevrt_kernels.voxelize.kernels import (
    voxelize_bytes_kernel,
    voxelize_packed_kernel,
    voxelize_packed_parallel_kernel,
)
from spikevrt_kernels.voxelize.norm import VoxelNorm
from spikevrt_kernels.voxelize.reference import Bytes, Crop, bin_edges, count_dtype


def voxelize(
    stored: Bytes,
    height: int,
    width: int,
    bins: int,
    packed: bool = True,
    flip: bool = True,
    crop: Crop | None = None,
    drop: tuple[int, int] = (0, 0),
    norm: VoxelNorm | None = None,
    parallel: bool = False,
    out: NDArray | None = None,
) -> NDArray:
    """Count the spikes of every pixel and time bin; bin(t) = floor(t * K / n).

    Args:
        stored: (n,H*W/8) packed bytes, least significant bit first, or (n,H*W) bytes of 0 and 1. May be a
            memory map: only the rows of the crop are touched.
        height: H of a stored frame.
        width: W of a stored frame, with the columns that are dropped.
        bins: K >= 1; with n < K some bins stay empty.
        packed: one bit a pixel; otherwise one byte.
        flip: rows are stored upside down.
        crop: (top, left, h, w) in upright pixels of what `drop` leaves, or None for all of that.
        drop: columns dropped at the left and at the right of every stored row.
        norm: normalise in the same pass; None = counts.
        parallel: on Numba's threads, for one caller at a time; otherwise on the calling thread, without the GIL.
            Where they are OpenMP's, Numba gives PyTorch as many from then on, whatever OMP_NUM_THREADS says.
        out: (K,h,w) contiguous array of the result's type to write to, or None for a new one.

    Returns:
        (K,h,w), row 0 on top: counts as uint8, or uint16 where a bin holds more than 255 frames; float32 with `norm`.

    Raises:
        ValueError: sizes that do not fit each other, or bytes above 1 in one byte a pixel.
    """
    visible = width - sum(drop)
    top, left, h, w = crop or (0, 0, height, visible)
    row_bytes = height * width // 8 if packed else height * width
    if bins < 1:
        raise ValueError(f"bins = {bins}: must be at least 1")
    if min(drop) < 0 or visible < 1:
        raise ValueError(f"dropping {drop} columns leaves none of {width}")
    if stored.ndim != 2 or stored.shape[1] != row_bytes or (packed and height * width % 8):
        raise ValueError(f"stored frames {stored.shape} do not hold {height}x{width} pixels each")
    if top < 0 or left < 0 or h < 1 or w < 1 or top + h > height or left + w > visible:
        raise ValueError(f"crop {(top, left, h, w)} lies outside a {height}x{visible} frame")
    n = len(stored)
    dtype, table = count_dtype(n, bins), value_table(n, bins, norm)
    out = result_array(out, (bins, h, w), np.dtype(dtype if table is None else table.dtype))
    where = (height, width, flip, (top, left + drop[0], h, w))
    if not packed:
        if voxelize_bytes_kernel(flat(stored), out.reshape(-1), table, bin_edges(n, bins), *where) > 1:
            raise ValueError("bytes above 1 in what should hold one byte a pixel, 0 or 1")
        return out
    kernel = voxelize_packed_parallel_kernel if parallel else voxelize_packed_kernel
    kernel(flat(stored), out.reshape(-1), table, bin_edges(n, bins), *where)
    return out


def result_array(out: NDArray | None, shape: tuple[int, ...], dtype: np.dtype) -> NDArray:
    """`out`, which must fit, or a new array."""
    if out is None:
        return np.empty(shape, dtype)
    if out.shape != shape or out.dtype != dtype or not out.flags.c_contiguous:
        raise ValueError(f"out is {out.dtype} {out.shape}: must be {dtype} {shape}, contiguous")
    return out


def value_table(frames: int, bins: int, norm: VoxelNorm | None) -> NDArray | None:
    """(2 * (n // K + 2),) what a count becomes in a bin of n // K frames, and in one of a frame more; None = itself."""
    shortest = frames // bins
    if norm is not None:
        return norm.table(np.array([shortest, shortest + 1]), shortest + 1).reshape(-1)
    if count_dtype(frames, bins) is np.uint8:
        return None
    return np.tile(np.arange(shortest + 2, dtype=np.uint16), 2)


def flat(stored: Bytes) -> Bytes:
    """All bytes in a row, as a view that cannot be written to: one compiled kernel serves files and arrays."""
    data = np.ascontiguousarray(stored).reshape(-1)
    data.flags.writeable = False
    return data
