"""From spike counts to the model's input."""

import torch
from torch import Tensor

from spikevrt.config import NormConfig


def normalise_voxels(counts: Tensor, bin_frames: Tensor, norm: NormConfig) -> Tensor:
    """DATA.NORM: rate or counts, then log1p, then (x - mean) / std, on the device of the counts.

    Args:
        counts: (...,K,h,w) integers.
        bin_frames: (...,K) spike frames in each bin; a bin of none gives 0.
        norm: the section of the configuration.

    Returns:
        (...,K,h,w) float32; with mode `rate` and nothing else, in [0,1].
    """
    x = counts.to(torch.float32)
    if norm.mode == "rate":
        x = x / bin_frames.clamp_min(1).to(torch.float32)[..., None, None]
    if norm.log1p:
        x = x.log1p()
    return (x - norm.mean) / norm.std
