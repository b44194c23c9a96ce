"""How layers start where the usual start learns slowly."""

import math

import torch
from torch import nn

SMALL = 0.01
OWN_FRAME, OTHER_FRAMES = 1.3, 0.3
SELECTIVE = 3.0
BINS_A_WAVE = 8


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


def start_smooth(layer: nn.Conv3d) -> None:
    """Weights of as large a norm that vary slowly along the K bins, and in one of two equal parts not over space.

    A spike bit is mostly noise, and a random combination of bits hides the picture. Sums of neighbouring bits show it
    from the first step on. The lowest K / 8 waves of a cosine transform along the bins are kept.
    """
    with torch.no_grad():
        weight = layer.weight
        K = weight.shape[1]
        bins, wave = torch.arange(K) + 0.5, torch.arange(max(1, K // BINS_A_WAVE))
        waves = torch.cos(math.pi / K * wave[:, None] * bins).to(weight)
        waves /= waves.norm(dim=1, keepdim=True)
        slow = torch.einsum("okthw,fk,fj->ojthw", weight, waves, waves)
        even = slow.mean((3, 4), keepdim=True).expand_as(slow)
        mixed = slow / slow.norm() + even / even.norm()
        weight.copy_(mixed * (weight.norm() / mixed.norm()))


def start_selective(in_proj_weight: nn.Parameter) -> None:
    """Queries and keys (2C of the 3C rows) at three times the usual weights.

    Scores of the usual start are so small that attention without positions blends all frames alike, and it learns
    to tell them apart only slowly.
    """
    with torch.no_grad():
        in_proj_weight[: 2 * in_proj_weight.shape[1]].mul_(SELECTIVE)
