"""Losses of training, and the choice among them."""

from collections.abc import Callable
from functools import partial

from torch import Tensor
from torch.nn import functional as F

from spikevrt.config import TrainConfig
from spikevrt.config.train import CHARBONNIER, COLOUR_PSNR, PSNR

ROUNDING = 1 / (12 * 255**2)
"""Mean squared error of rounding to 8 bits: to come closer gains nothing."""
CHROMA = ((-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
"""From RGB to Cb and Cr of BT.601 (JPEG), without their offset."""
AREA = 16
"""Side in pixels of the areas whose mean colour counts."""
CHROMA_WEIGHT, AREA_WEIGHT, FRAME_WEIGHT = 4.0, 4.0, 16.0
"""What errors of chroma, of the mean of an area, and of the mean of a frame count beside those of pixels."""
Loss = Callable[[Tensor, Tensor], Tensor]
"""(restored, sharp), both (B,T,3,H,W) of any floating type -> a float32 scalar."""


def charbonnier(output: Tensor, target: Tensor, eps: float) -> Tensor:
    """mean sqrt(d^2 + eps^2), computed in float32, because eps^2 underflows in half precision."""
    difference = output.float() - target.float()
    return (difference.square() + eps**2).sqrt().mean()


def negative_psnr(output: Tensor, target: Tensor) -> Tensor:
    """mean over frames of 10 log10(mean d^2 + ROUNDING), in float32: each frame counts alike, however blurred it is.

    Source: the PSNR loss of NAFNet (Chen et al. 2022); there the small term is 1e-8.
    """
    return 10 * (mean_square(output.float() - target.float()) + ROUNDING).log10().mean()


def negative_colour_psnr(output: Tensor, target: Tensor) -> Tensor:
    """`negative_psnr` whose mean squared error of a frame counts errors of its colours, which are small, much more.

    Such errors are chroma, and the mean of areas and of the whole frame in each channel. A result that is right in
    these has the colours and the brightness of the sharp frame.
    """
    difference = (output.float() - target.float()).flatten(0, -4)
    # Not a matrix product: autocast would run that in half precision.
    chroma = (difference.new_tensor(CHROMA)[..., None, None] * difference[:, None]).sum(-3)
    areas = F.avg_pool2d(difference, AREA, ceil_mode=True)
    whole = difference.mean((-2, -1), keepdim=True)
    colours = CHROMA_WEIGHT * mean_square(chroma) + AREA_WEIGHT * mean_square(areas) + FRAME_WEIGHT * mean_square(whole)
    return 10 * (mean_square(difference) + colours + ROUNDING).log10().mean()


def mean_square(difference: Tensor) -> Tensor:
    """The mean square (...) of each of the differences (...,C,H,W)."""
    return difference.square().mean((-3, -2, -1))


def make_loss(train: TrainConfig) -> Loss:
    """The loss that a TRAIN section selects."""
    losses = {PSNR: negative_psnr, COLOUR_PSNR: negative_colour_psnr}
    return partial(charbonnier, eps=train.charbonnier_eps) if train.loss == CHARBONNIER else losses[train.loss]
