"""GEGLU: results and saved tensors of its own gradient function."""

import torch
from torch.nn import functional as F

from spikevrt.models.vrt.window_block import GEGLU, GatedGELU
from spikevrt_kernels.proof.operator_counter import count_saved


def test_gated_gelu_and_its_gradients_equal_plain_operators():
    torch.manual_seed(0)
    a, b = torch.randn(2, 3, 5, 7, dtype=torch.float64, requires_grad=True).unbind(0)
    R = torch.randn(3, 5, 7, dtype=torch.float64)
    found, wanted = GatedGELU.apply(a, b), F.gelu(a) * b
    assert torch.equal(found, wanted)
    pairs = zip(torch.autograd.grad(found, (a, b), R), torch.autograd.grad(wanted, (a, b), R), strict=True)
    assert all((x - y).abs().max() < 1e-14 for x, y in pairs)


def test_geglu_keeps_its_two_halves_and_their_product():
    module, x = GEGLU(8, 16), torch.randn(10, 8, requires_grad=True)
    with count_saved(x, *module.parameters()) as sizes:
        module(x)
    assert sorted(sizes) == 3 * [4 * 10 * 16]
