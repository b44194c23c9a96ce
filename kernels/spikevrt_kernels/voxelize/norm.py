"""Normalised voxels: what a count becomes, as a table for the kernel's own pass."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class VoxelNorm:
    """Rate or count, then log1p, then (x - mean) / std: the keys of DATA.NORM."""

    rate: bool = True
    """count / frames in the bin, in [0,1]; otherwise the count."""
    log1p: bool = False
    mean: float = 0.0
    std: float = 1.0

    def table(self, bin_frames: NDArray[np.int64], most: int) -> NDArray[np.float32]:
        """(L,) lengths of bins -> (L,most + 1) value of every count in a bin of each length."""
        values = np.broadcast_to(np.arange(most + 1, dtype=np.float32), (len(bin_frames), most + 1))
        if self.rate:
            values = values / np.maximum(bin_frames, 1).astype(np.float32)[:, None]
        if self.log1p:
            values = np.log1p(values)
        return (values - np.float32(self.mean)) / np.float32(self.std)


def normalise_reference(counts: NDArray, bin_frames: NDArray[np.int64], norm: VoxelNorm) -> NDArray[np.float32]:
    """(K,h,w) counts and (K,) frames of each bin -> (K,h,w) values."""
    values = counts.astype(np.float32)
    if norm.rate:
        values /= np.maximum(bin_frames, 1).astype(np.float32)[:, None, None]
    if norm.log1p:
        values = np.log1p(values)
    return (values - np.float32(norm.mean)) / np.float32(norm.std)
