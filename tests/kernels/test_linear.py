"""Linear layers as 1x1 convolutions: values and gradients against float64, and where PyTorch's product is used."""

import pytest
import torch
from torch.nn import functional as F

from spikevrt_kernels.core.backends import planning
from spikevrt_kernels.linear import Linear, linear, suits_convolution


@pytest.mark.parametrize("shape", [(1, 6, 8, 8), (2, 3, 7, 5), (16, 1), (5, 9), (3,), ()], ids=str)
@pytest.mark.parametrize("biased", [True, False], ids=["bias", "no-bias"])
def test_linear_and_its_gradients_equal_float64(shape, biased):
    torch.manual_seed(0)
    leaves = [torch.randn(*shape, 11), torch.randn(13, 11), *([torch.randn(13)] if biased else [])]
    exact = [x.double().requires_grad_() for x in leaves]
    leaves = [x.requires_grad_() for x in leaves]
    R = torch.randn(*shape, 13)
    found, wanted = linear(*leaves), F.linear(*exact)
    gradients = torch.autograd.grad(found, leaves, R)
    pairs = zip((found, *gradients), (wanted, *torch.autograd.grad(wanted, exact, R.double())), strict=True)
    assert all((x - y).norm() <= 1e-6 * y.norm() for x, y in pairs)
    assert found.is_contiguous()


def test_a_map_of_float32_on_the_cpu_suits():
    x, weight = torch.randn(2, 9, 7, 12), torch.randn(8, 12)
    assert suits_convolution(x, weight) == torch.backends.mkldnn.is_available()
    assert not suits_convolution(x.double(), weight.double())
    assert not suits_convolution(x.transpose(1, 2), weight)
    assert not suits_convolution(x[0, 0], weight)
    with torch.autocast("cpu", torch.bfloat16):
        assert not suits_convolution(x, weight)
    with planning(for_cuda=True):
        assert not suits_convolution(x, weight)


def test_the_layer_has_the_state_and_the_start_of_a_plain_one():
    torch.manual_seed(0)
    ours = Linear(6, 4)
    torch.manual_seed(0)
    plain = torch.nn.Linear(6, 4)
    assert all(torch.equal(x, plain.state_dict()[name]) for name, x in ours.state_dict().items())
