"""A residual linear branch outside the interpreter: drop path as in the modules, and shapes that do not fit."""

import pytest
import torch
from torch import nn

from spikevrt_kernels.linear_residual import linear_residual
from spikevrt_kernels.proof.cuda_autocast import cuda_autocast

KEEP = 0.75


@pytest.mark.parametrize("backend", ["naive", "sdpa"])
def test_it_is_what_the_modules_give(backend):
    layer, x, o = nn.Linear(24, 12), torch.randn(16, 2, 3, 12), torch.randn(16, 2, 3, 24)
    kept = torch.tensor([1.0, 0.0] * 8)
    found = linear_residual(x, o, layer.weight, layer.bias, kept / KEEP, backend)
    torch.testing.assert_close(found, x + layer(o) * kept.view(-1, 1, 1, 1) / KEEP)
    assert torch.equal(linear_residual(x, o, layer.weight, layer.bias, backend="naive"), x + layer(o))


def test_under_cudas_autocast_the_sum_is_rounded_once():
    layer, x, o = nn.Linear(24, 12), torch.randn(2, 5, 12).bfloat16(), torch.randn(2, 5, 24).bfloat16()
    scale = torch.tensor([0.0, 1 / KEEP])
    with cuda_autocast(), torch.autocast("cpu", torch.bfloat16):
        found, branch = linear_residual(x, o, layer.weight, layer.bias, scale, "naive"), layer(o)
        assert torch.equal(linear_residual(x, o, layer.weight, layer.bias, backend="naive"), x + branch)
    assert branch.dtype == torch.bfloat16
    assert torch.equal(found, (x + branch * scale.view(-1, 1, 1)).bfloat16())


@pytest.mark.parametrize(
    ("o", "weight", "bias", "scale"),
    [
        ((2, 4, 8), (6, 8), (6,), (2,)),
        ((2, 3, 8), (6, 9), (6,), (2,)),
        ((2, 3, 8), (6, 8), (8,), (2,)),
        ((2, 3, 8), (6, 8), (6,), (3,)),
    ],
    ids=str,
)
def test_shapes_that_do_not_fit_are_refused(o, weight, bias, scale):
    others = (torch.zeros(shape) for shape in (o, weight, bias, scale))
    with pytest.raises(ValueError, match=r"linear_residual: x"):
        linear_residual(torch.zeros(2, 3, 6), *others, "naive")
