"""Voxels in plain NumPy, the reference of the Numba kernels.

n spike frames of H x W pixels, K bins; bin(t) = floor(t * K / n).
"""

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Crop = tuple[int, int, int, int]
"""(top, left, height, width) in upright pixels."""


def bin_of_frame(frames: int, bins: int) -> NDArray[np.int64]:
    """(n,) bin of each spike frame."""
    return np.arange(frames, dtype=np.int64) * bins // max(frames, 1)


def bin_edges(frames: int, bins: int) -> NDArray[np.int64]:
    """(K + 1,) first spike frame of each bin, then n: the smallest t with t * K / n >= k."""
    return -(-np.arange(bins + 1, dtype=np.int64) * frames // bins)


def frames_per_bin(frames: int, bins: int) -> NDArray[np.int64]:
    """(K,) number of spike frames per bin (0 if n < K leaves a bin empty)."""
    return np.bincount(bin_of_frame(frames, bins), minlength=bins)


def count_dtype(frames: int, bins: int) -> type[np.uint8] | type[np.uint16]:
    """uint8, or uint16 if a bin holds more than 255 frames."""
    most = int(frames_per_bin(frames, bins).max(initial=0))
    if most > np.iinfo(np.uint16).max:
        raise ValueError(f"a bin of {most} spike frames overflows uint16: use more than {bins} bins")
    return np.uint8 if most <= np.iinfo(np.uint8).max else np.uint16


def unpack_frames(packed: Bytes, height: int, width: int, flip: bool) -> Bytes:
    """Unpack (n,H*W/8) bytes, least significant bit first -> (n,H,W) of 0 and 1, row 0 on top."""
    bits = np.unpackbits(packed, axis=1, bitorder="little")[:, : height * width]
    frames = bits.reshape(-1, height, width)
    return frames[:, ::-1] if flip else frames


def voxelize_reference(frames: Bytes, bins: int, crop: Crop | None = None) -> NDArray:
    """Count the spikes of frames (n,H,W), 0 or 1 and upright -> (K,h,w)."""
    if crop is not None:
        top, left, h, w = crop
        frames = frames[:, top : top + h, left : left + w]
    which = bin_of_frame(len(frames), bins)
    counts = np.zeros((bins, *frames.shape[1:]), count_dtype(len(frames), bins))
    for t, frame in enumerate(frames):
        counts[which[t]] += frame
    return counts
