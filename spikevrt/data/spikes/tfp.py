"""TFP, texture from playback: the mean of the spikes around the middle of an exposure.

n spike frames of h x w pixels, H x W pixels of the RGB frames.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from spikevrt.data.files.images import GREY_WEIGHTS
from spikevrt.data.spikes.stretch import Stretch
from spikevrt.errors import UserError
from spikevrt_kernels.voxelize import voxelize

WHITE_RATE = 0.6
"""Firing rate of a white pixel in SREDS; assumed for recordings that do not state it."""


def grey(rgb: Tensor) -> Tensor:
    """Brightness (...,1,H,W) of RGB (...,3,H,W), in the same range: 0.3 R + 0.59 G + 0.11 B."""
    weights = torch.from_numpy(GREY_WEIGHTS).to(rgb).view(3, 1, 1)
    return (rgb * weights).sum(-3, keepdim=True)


def default_span(frames: int) -> int:
    """Default number of spike frames to average: half of the exposure, made odd."""
    return min(frames // 2 | 1, frames)


def middle_span(frames: int, span: int) -> slice:
    """The `span` frames around frame `frames // 2`, the middle of the exposure.

    Raises:
        UserError: `span` is below 1 or above `frames`.
    """
    if not 1 <= span <= frames:
        raise UserError(f"--tfp-window {span}: must be between 1 and the {frames} spike frames of the exposure")
    start = min(max(frames // 2 - span // 2, 0), frames - span)
    return slice(start, start + span)


def mean_firing(stretch: Stretch) -> NDArray[np.float32]:
    """(h,w) float32 spikes per spike frame, in [0,1]: the mean of all frames."""
    counts = voxelize(stretch.packed, 1, 8 * stretch.packed.shape[1], 1, packed=True, flip=False)
    return stretch.image(counts.reshape(-1).astype(np.float32) / np.float32(len(stretch)))


def brightness(rates: NDArray[np.float32], white: float) -> NDArray[np.float32]:
    """Brightness in [0,1] of firing rates (h,w), in spikes per spike frame; `white` is the rate of white."""
    return np.clip(rates / np.float32(white), 0, 1)


def as_picture(rates: NDArray[np.float32], white: float) -> NDArray[np.uint8]:
    """`brightness` as 0 to 255, rounded."""
    return np.rint(brightness(rates, white) * 255).astype(np.uint8)


def white_of(rates: NDArray[np.float32]) -> float:
    """The firing rate that only the brightest 0.5% of the pixels (h,w) exceed; never 0."""
    return float(np.quantile(rates, 0.995)) or float(rates.max()) or 1.0


def enlarged(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """Enlarge (1,h,w) to (1,H,W), bilinear, with align_corners False."""
    return F.interpolate(picture[None], size, mode="bilinear", align_corners=False)[0]
