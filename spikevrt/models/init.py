"""Initialisation of layers whose default weights train slowly."""

import math

import torch
from torch import nn

SMALL_FACTOR = 0.01
CENTRE_FACTOR, NEIGHBOUR_FACTOR = 1.3, 0.3
SELECTIVE_FACTOR = 3.0
BINS_PER_WAVE = 8


def init_small(layer: nn.Module) -> None:
    """Scale the default weights by 1/100 and zero the bias, so that a residual branch adds little at first."""
    assert isinstance(layer, (nn.Conv2d, nn.Conv3d, nn.Linear))
    with torch.no_grad():
        layer.weight.mul_(SMALL_FACTOR)
        if layer.bias is not None:
            layer.bias.zero_()


def init_framewise(layer: nn.Conv3d) -> None:
    """Enlarge the weights of the centre tap in time and reduce the others, so that features mostly show their frame."""
    with torch.no_grad():
        centre = layer.weight.shape[2] // 2
        own = layer.weight[:, :, centre] * CENTRE_FACTOR
        layer.weight.mul_(NEIGHBOUR_FACTOR)
        layer.weight[:, :, centre] = own


def init_smooth(layer: nn.Conv3d) -> None:
    """Low-pass the weights along the K bins (half of them also over space), keeping their norm.

    A single spike bit is mostly noise, and a random combination of bits hides the picture, while a sum of neighbouring
    bits shows it from the first step. The lowest K / 8 frequencies of a cosine transform along the bins are kept.
    """
    with torch.no_grad():
        weight = layer.weight
        K = weight.shape[1]
        bins, wave = torch.arange(K) + 0.5, torch.arange(max(1, K // BINS_PER_WAVE))
        waves = torch.cos(math.pi / K * wave[:, None] * bins).to(weight)
        waves /= waves.norm(dim=1, keepdim=True)
        slow = torch.einsum("okthw,fk,fj->ojthw", weight, waves, waves)
        even = slow.mean((3, 4), keepdim=True).expand_as(slow)
        mixed = slow / slow.norm() + even / even.norm()
        weight.copy_(mixed * (weight.norm() / mixed.norm()))


def init_selective(in_proj_weight: nn.Parameter) -> None:
    """Scale the default weights of queries and keys by 3: the first 2C of 3C rows.

    With default weights the attention scores are so small that attention without positional encoding averages all
    frames, and learns only slowly to distinguish them.
    """
    with torch.no_grad():
        in_proj_weight[: 2 * in_proj_weight.shape[1]].mul_(SELECTIVE_FACTOR)
