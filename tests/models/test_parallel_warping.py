"""Parallel warping on the CPU: where nothing moves, a plain convolution remains."""

import pytest
import torch

from spikevrt.models.vrt.parallel_warping import DCNv2PackFlowGuided
from spikevrt_kernels.proof.operator_counter import count_operators

B, T, H, W, C = 2, 3, 5, 7, 8


def warping(frozen=True):
    """A layer as it is initialised, with features and flows that do not move."""
    layer = DCNv2PackFlowGuided(C, 2, 10.0).double().requires_grad_(not frozen)
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(B, T, H, W, C, dtype=torch.float64, requires_grad=True)
    return layer, x, torch.zeros(2, B, T - 1, 2, H, W, dtype=torch.float64)


def test_the_plain_convolution_gives_the_same_result_and_gradients():
    layer, x, flows = warping()
    layer.weight.requires_grad_()
    assert layer.is_still(flows)
    found = layer.neighbours(x, *flows)
    layer.backend = "naive"
    wanted = layer.neighbours(x, *flows)
    grad = torch.randn_like(wanted)
    assert (found - wanted).abs().max() < 1e-12
    pairs = zip(*(torch.autograd.grad(y, (x, layer.weight), grad) for y in (found, wanted)), strict=True)
    assert all((a - b).abs().max() < 1e-12 for a, b in pairs)


@pytest.mark.parametrize("what", ["flow", "flow may change", "offsets", "offsets may change", "counted"])
def test_what_moves_or_may_move_is_computed_in_full(what):
    layer, _, flows = warping(frozen=what != "offsets may change")
    if what == "flow":
        flows[0, 1, 0, 1, 2, 3] = 0.5
    elif what == "flow may change":
        flows.requires_grad_()
    elif what == "offsets":
        layer.conv_offset[-1].bias.data[5] = 0.5
    elif what == "counted":
        with count_operators():
            assert not layer.is_still(flows)
        return
    assert not layer.is_still(flows)
    with torch.no_grad():
        assert layer.is_still(flows) is what.endswith("may change")
