"""The public function: stored spike bytes to counts."""

import numpy as np
from numpy.typing import NDArray

from spikevrt_kernels.voxelize.kernels import voxelize_bytes_kernel, voxelize_packed_kernel
from spikevrt_kernels.voxelize.reference import Bytes, Crop, bin_of_frame, count_dtype


def voxelize(
    stored: Bytes,
    height: int,
    width: int,
    bins: int,
    packed: bool = True,
    flip: bool = True,
    crop: Crop | None = None,
) -> NDArray:
    """Count the spikes of every pixel and time bin; bin(t) = floor(t * K / n).

    Args:
        stored: (n,H*W/8) packed bytes, least significant bit first, or (n,H*W) bytes of 0 and 1.
        height: H of a stored frame.
        width: W of a stored frame.
        bins: K >= 1; with n < K some bins stay empty.
        packed: one bit a pixel; otherwise one byte.
        flip: rows are stored upside down.
        crop: (top, left, h, w) in upright pixels, or None for the whole frame.

    Returns:
        (K,h,w) counts, row 0 on top; uint8, or uint16 where a bin holds more than 255 frames.

    Raises:
        ValueError: sizes that do not fit each other.
    """
    top, left, h, w = crop or (0, 0, height, width)
    row_bytes = height * width // 8 if packed else height * width
    if bins < 1:
        raise ValueError(f"bins = {bins}: must be at least 1")
    if stored.ndim != 2 or stored.shape[1] != row_bytes or (packed and height * width % 8):
        raise ValueError(f"stored frames {stored.shape} do not hold {height}x{width} pixels each")
    if top < 0 or left < 0 or h < 1 or w < 1 or top + h > height or left + w > width:
        raise ValueError(f"crop {(top, left, h, w)} lies outside a {height}x{width} frame")
    counts = np.zeros((bins, h, w), count_dtype(len(stored), bins))
    kernel = voxelize_packed_kernel if packed else voxelize_bytes_kernel
    kernel(np.ascontiguousarray(stored), counts, bin_of_frame(len(stored), bins), height, width, flip, top, left)
    return counts
