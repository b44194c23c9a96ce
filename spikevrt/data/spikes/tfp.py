"""TFP, texture from playback: the mean of the spikes around the middle of an exposure.

n spike frames of h x w pixels, H x W pixels of the RGB frames.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from spikevrt.data.files.images import GREY
from spikevrt.errors import UserError

WHITE_RATE = 0.6
"""Firing rate of white in SREDS, and in recordings that do not say."""


def grey(rgb: Tensor) -> Tensor:
    """(...,3,H,W) -> (...,1,H,W) brightness on the same scale: 0.3 R + 0.59 G + 0.11 B."""
    weights = torch.from_numpy(GREY).to(rgb).view(3, 1, 1)
    return (rgb * weights).sum(-3, keepdim=True)


def default_window(frames: int) -> int:
    """Default number of spike frames to average: half of the exposure, made odd."""
    return min(frames // 2 | 1, frames)


def middle_window(frames: int, window: int) -> slice:
    """`window` frames around frame `frames // 2`, the one at the middle of the exposure."""
    if not 1 <= window <= frames:
        raise UserError(f"--tfp-window {window}: must be between 1 and the {frames} spike frames of the exposure")
    start = min(max(frames // 2 - window // 2, 0), frames - window)
    return slice(start, start + window)


def tfp_picture(spikes: NDArray[np.uint8], rate: float, window: int | None = None) -> Tensor:
    """Mean firing around the middle of the exposure, as brightness.

    Args:
        spikes: (n,h,w) of 0 and 1, the exposure.
        rate: firing rate of white.
        window: spike frames around the middle; None = `default_window`.

    Returns:
        (1,h,w) float32 in [0,1].
    """
    part = spikes[middle_window(len(spikes), window or default_window(len(spikes)))]
    return torch.from_numpy(mean_firing(part) / np.float32(rate)).clamp(0, 1)[None]


def mean_firing(spikes: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(n,h,w) of 0 and 1 -> (h,w) spikes per frame, in [0,1]."""
    return spikes.mean(0, dtype=np.float32)


def enlarged(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """(1,h,w) -> (1,H,W), bilinear, corners not aligned."""
    return F.interpolate(picture[None], size, mode="bilinear", align_corners=False)[0]
