"""Starts: what they promise of a fresh layer."""

import math

import pytest
import torch
from torch import nn

from spikevrt.models.start import start_framewise, start_selective, start_small, start_smooth


def agreement(layer: nn.Conv3d) -> float:
    """Correlation of the features of two recordings of one picture: what of them is not noise."""
    rate = torch.nn.functional.interpolate(torch.rand(1, 1, 6, 6), (24, 24), mode="bilinear") * 0.4
    a, b = (layer(torch.bernoulli(rate.expand(32, 3, 24, 24))[None]) for _ in range(2))
    return torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1].item()


@pytest.mark.parametrize("bins", [1, 7, 32, 40])
def test_a_smooth_start_keeps_the_norm_and_only_slow_waves_along_the_bins(bins):
    torch.manual_seed(0)
    layer = nn.Conv3d(bins, 6, 3, padding=1)
    norm = layer.weight.norm().item()
    start_smooth(layer)
    assert layer.weight.norm().item() == pytest.approx(norm, rel=1e-5)
    places = torch.arange(bins) + 0.5
    for wave in range(bins):
        cosine = torch.cos(math.pi / bins * wave * places)
        share = torch.einsum("okthw,k->othw", layer.weight, cosine).abs().max().item()
        assert (share > 1e-2) == (wave < max(1, bins // 8)), wave


def test_a_smooth_start_shows_the_picture_and_not_the_noise_of_single_bits():
    torch.manual_seed(0)
    layer = nn.Conv3d(32, 6, 3, padding=1, bias=False)
    usual = agreement(layer)
    start_smooth(layer)
    assert agreement(layer) > usual + 0.2


def test_a_framewise_start_favours_the_own_frame():
    layer = nn.Conv3d(4, 4, 3)
    nn.init.ones_(layer.weight)
    start_framewise(layer)
    assert torch.equal(layer.weight[0, 0, :, 0, 0], torch.tensor([0.3, 1.3, 0.3]))


def test_a_selective_start_scales_queries_and_keys_and_not_values():
    weight = nn.Parameter(torch.ones(12, 4))
    start_selective(weight)
    assert (weight[:8] == 3).all()
    assert (weight[8:] == 1).all()


def test_a_small_start_has_hundredths_and_no_bias():
    layer = nn.Linear(3, 2)
    nn.init.ones_(layer.weight)
    start_small(layer)
    assert torch.allclose(layer.weight, torch.full((2, 3), 0.01))
    assert not layer.bias.any()
