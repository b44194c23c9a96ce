"""Losses of training, and the choice among them."""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from spikevrt.config import TrainConfig

Loss = Callable[[Tensor, Tensor], Tensor]
"""(restored, sharp), both (B,T,3,H,W) of any floating type -> a float32 scalar."""


def charbonnier(output: Tensor, target: Tensor, eps: float) -> Tensor:
    """mean sqrt(d^2 + eps^2), computed in float32, because eps^2 underflows in half precision."""
    difference = output.float() - target.float()
    return (difference.square() + eps**2).sqrt().mean()


def make_loss(train: TrainConfig) -> Loss:
    """The loss that a TRAIN section selects."""
    return partial(charbonnier, eps=train.charbonnier_eps)
