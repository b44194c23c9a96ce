"""Initialisation of layers."""

import math

import pytest
import torch
from torch import nn

from spikevrt.models import SpikeEncoder3D
from spikevrt.models.init import init_small, init_smooth
from spikevrt.models.temporal import MultiScaleTemporalCrossAttnFuse

WIDTHS = [16, 16, 16, 16]


def agreement(layer: nn.Conv3d) -> float:
    """Correlation of the features of two recordings of one picture: what of them is not noise."""
    rate = torch.nn.functional.interpolate(torch.rand(1, 1, 6, 6), (24, 24), mode="bilinear") * 0.4
    a, b = (layer(torch.bernoulli(rate.expand(32, 3, 24, 24))[None]) for _ in range(2))
    return torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1].item()


def test_fresh_spike_features_are_mostly_of_their_own_frame():
    torch.manual_seed(0)
    encoder = SpikeEncoder3D(8, WIDTHS)
    voxels = torch.rand(1, 3, 8, 32, 32)
    other = voxels.clone()
    other[:, 1] = torch.rand(1, 8, 32, 32)
    with torch.no_grad():
        for before, after in zip(encoder(voxels), encoder(other), strict=True):
            changed = (after - before).square().mean((0, 1, 3, 4))
            assert changed[1] > 4 * max(changed[0], changed[2]) > 0


def test_fresh_fusion_weights_frames_unlike_each_other():
    torch.manual_seed(0)
    attention = MultiScaleTemporalCrossAttnFuse(WIDTHS, heads=2).fuse_blocks[0].attn.attn
    q_weight, k_weight, v_weight = attention.in_proj_weight.chunk(3)
    assert q_weight.std() > 2.5 * v_weight.std()
    assert k_weight.std() > 2.5 * v_weight.std()
    rgb, spikes = torch.nn.functional.layer_norm(torch.randn(1000, 3, 16), (16,)).split((1, 2), 1)
    q, k = ((x @ w.T).unflatten(-1, (2, 8)) for x, w in ((rgb, q_weight), (spikes, k_weight)))
    largest = ((q * k).sum(-1) / 8**0.5).softmax(1).amax(1)
    assert largest.mean() > 0.8  # 0.5 = all alike; the usual start gives 0.6


@pytest.mark.parametrize("bins", [1, 7, 32, 40])
def test_a_smooth_start_keeps_the_norm_and_only_slow_waves_along_the_bins(bins):
    torch.manual_seed(0)
    layer = nn.Conv3d(bins, 6, 3, padding=1)
    norm = layer.weight.norm().item()
    init_smooth(layer)
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
    init_smooth(layer)
    assert agreement(layer) > usual + 0.2


def test_a_small_start_has_hundredths_and_no_bias():
    layer = nn.Linear(3, 2)
    nn.init.ones_(layer.weight)
    init_small(layer)
    assert torch.allclose(layer.weight, torch.full((2, 3), 0.01))
    assert not layer.bias.any()
