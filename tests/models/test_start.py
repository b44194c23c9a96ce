"""How fresh layers start."""

import torch

from spikevrt.models import SpikeEncoder3D
from spikevrt.models.fusion import MultiScaleTemporalCrossAttnFuse

WIDTHS = [16, 16, 16, 16]


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
