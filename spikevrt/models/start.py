"""How layers start where the usual start learns slowly."""

import torch
from torch import nn

SMALL = 0.01
OWN_FRAME, OTHER_FRAMES = 1.3, 0.3
SELECTIVE = 3.0


def start_small(layer: nn.Module) -> None:
    """A hundredth of the usual weights and no bias: a fresh model need not first unlearn a random correction."""
    assert isinstance(layer, (nn.Conv2d, nn.Conv3d, nn.Linear))
    with torch.no_grad():
        layer.weight.mul_(SMALL)
        if layer.bias is not None:
            layer.bias.zero_()


def start_framewise(layer: nn.Conv3d) -> None:
    """The taps of neighbouring frames small beside the own frame's: fresh features are mostly of their own frame."""
    with torch.no_grad():
        centre = layer.weight.shape[2] // 2
        own = layer.weight[:, :, centre] * OWN_FRAME
        layer.weight.mul_(OTHER_FRAMES)
        layer.weight[:, :, centre] = own


def start_selective(in_proj_weight: nn.Parameter) -> None:
    """Queries and keys (2C of the 3C rows) at three times the usual weights.

    Scores of the usual start are so small that attention without positions blends all frames alike, and it learns
    to tell them apart only slowly.
    """
    with torch.no_grad():
        in_proj_weight[: 2 * in_proj_weight.shape[1]].mul_(SELECTIVE)
