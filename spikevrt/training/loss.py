"""Losses of training, and the choice among them."""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from spikevrt.config import TrainConfig
from spikevrt.config.train import CHARBONNIER

ROUNDING = 1 / (12 * 255**2)
"""Mean squared error of rounding to 8 bits: to come closer gains nothing."""
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
    squares = (output.float() - target.float()).square().mean((-3, -2, -1))
    return 10 * (squares + ROUNDING).log10().mean()


def make_loss(train: TrainConfig) -> Loss:
    """The loss that a TRAIN section selects."""
    return partial(charbonnier, eps=train.charbonnier_eps) if train.loss == CHARBONNIER else negative_psnr
