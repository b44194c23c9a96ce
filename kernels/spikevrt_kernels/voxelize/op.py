"""The public function: counts of spikes from stored bytes."""

import numpy as np
from numpy.typing import NDArray

from spikevrt_kernels.voxelize.bit_counters import WORD
from spikevrt_kernels.voxelize.kernels import voxelize_bytes_kernel, voxelize_packed_kernel
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
) -> NDArray:
    """Count the spikes per pixel and time bin, bin(t) = floor(t * K / n); runs on the calling thread, without the GIL.

    Args:
        stored: (n,H*W/8) packed bytes, least significant bit first, or (n,H*W) bytes of 0 and 1. May be a memory map:
            only the rows of the crop are read.
        height: H of a stored frame.
        width: W of a stored frame, with the dropped columns.
        bins: K >= 1; with n < K some bins stay empty.
        packed: whether there is one bit per pixel; otherwise there is one byte.
        flip: whether rows are stored upside down.
        crop: (top, left, h, w) in upright pixels, without the dropped columns; None = all.
        drop: columns dropped at the left and right end of every stored row.

    Returns:
        (K,h,w) counts, row 0 on top: uint8, or uint16 if a bin holds more than 255 frames.

    Raises:
        ValueError: sizes do not fit each other, or bytes are above 1 although there is one byte per pixel.
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
    out = np.empty((bins, h, w), count_dtype(n, bins))
    view = (height, width, flip, (top, left + drop[0], h, w))
    if packed:
        high = None if out.dtype == np.uint8 else np.empty(WORD, np.uint8)
        voxelize_packed_kernel(flat(stored), out.reshape(-1), bin_edges(n, bins), view, high)
    elif voxelize_bytes_kernel(flat(stored), out.reshape(-1), bin_edges(n, bins), view) > 1:
        raise ValueError("bytes above 1 in spikes stored as one byte per pixel, 0 or 1")
    return out


def flat(stored: Bytes) -> Bytes:
    """All bytes as one flat read-only view, so that one compiled kernel serves files and arrays."""
    data = np.ascontiguousarray(stored).reshape(-1)
    data.flags.writeable = False
    return data
