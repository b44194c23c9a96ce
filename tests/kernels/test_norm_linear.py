"""Layer norm with a linear layer outside the interpreter: the types of a GPU's autocast, and widths that do not fit."""

import pytest
import torch
from torch import nn

from spikevrt_kernels.norm_linear import norm_linear
from spikevrt_kernels.proof.cuda_autocast import cuda_autocast


def test_under_cudas_autocast_it_is_what_the_modules_give():
    norm, layer, x = nn.LayerNorm(24), nn.Linear(24, 72), torch.randn(2, 5, 24).bfloat16()
    with cuda_autocast(), torch.autocast("cpu", torch.bfloat16):
        wanted = layer(norm(x))
        found = norm_linear(x, (norm.weight, norm.bias), layer.weight, layer.bias, "naive")
    assert wanted.dtype == torch.bfloat16
    assert torch.equal(found, wanted)


@pytest.mark.parametrize(
    ("gamma", "weight", "bias"), [((9,), (4, 8), (4,)), ((8,), (4, 9), (4,)), ((8,), (4, 8), (5,))], ids=str
)
def test_widths_that_do_not_fit_are_refused(gamma, weight, bias):
    norm = torch.ones(gamma), torch.ones(gamma)
    with pytest.raises(ValueError, match=r"norm_linear: .* not fit them"):
        norm_linear(torch.zeros(3, 8), norm, torch.zeros(weight), torch.zeros(bias), "naive")
