"""The CPU kernels of deformable convolution against plain PyTorch in float64: values, gradients, edges, threads."""

import pytest
import torch

from spikevrt_kernels.deform_conv import cpu, deform_conv, deform_conv_cpu
from spikevrt_kernels.proof.operator_counter import count_operators

SHAPES = {  # N, C, G, H, W, Cout
    "one-group": (1, 3, 1, 7, 5, 4),
    "groups-of-6": (2, 24, 4, 9, 13, 24),
    "several-strips": (1, 4, 2, 37, 11, 3),
    "two-rows": (2, 4, 4, 2, 9, 1),
}


def inputs(N, C, G, H, W, out, spread=2.0):
    x, offset, mask = torch.randn(N, C, H, W), spread * torch.randn(N, 18 * G, H, W), torch.rand(N, 9 * G, H, W)
    return [t.requires_grad_() for t in (x, offset, mask, torch.randn(out, C, 3, 3), torch.randn(out))]


def with_gradients(run, tensors, grad):
    out = run(*tensors)
    return out, *torch.autograd.grad(out, tensors, grad.to(out.dtype))


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_values_and_gradients(shape, threads, monkeypatch):
    monkeypatch.setattr(cpu, "STRIP", 64)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    tensors = inputs(*shape)
    exact = [t.detach().double().requires_grad_() for t in tensors]
    grad = torch.randn(shape[0], shape[-1], *shape[3:5])
    found, wanted = with_gradients(deform_conv_cpu, tensors, grad), with_gradients(deform_conv, exact, grad)
    for name, a, b in zip(("out", "x", "offset", "mask", "weight", "bias"), found, wanted, strict=True):
        assert (a.double() - b).norm() < 1e-6 * b.norm(), name


FAR = (1e30, -1e30, 7.0, -7.0, float("inf"), -float("inf"), float("nan"), 5.0, -5.0)


def test_far_and_missing_positions_read_nothing():
    x, offset, mask, weight, bias = (t.detach() for t in inputs(1, 2, 1, 4, 5, 2, spread=0.0))
    offset[:, ::2] = torch.tensor(FAR)[:, None, None]
    out = deform_conv_cpu(x, offset, mask, weight, bias)
    assert torch.equal(out, bias.view(1, -1, 1, 1).expand(1, 2, 4, 5))


def test_an_expanded_gradient_and_inputs_of_any_strides():
    x, *others = inputs(1, 4, 2, 6, 5, 4)
    turned = x.detach().permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2).requires_grad_()
    wanted, found = (torch.autograd.grad(deform_conv_cpu(y, *others).sum(), (y, others[2])) for y in (x, turned))
    assert all(torch.allclose(a, b, rtol=1e-6) for a, b in zip(wanted, found, strict=True))


def test_other_types_counters_and_autocast_take_plain_operators():
    tensors = inputs(1, 2, 1, 3, 3, 2)
    with count_operators() as traffic:
        deform_conv_cpu(*tensors)
    assert traffic.by_operator["aten::grid_sampler_2d"] > 0
    doubles = [t.detach().double() for t in tensors]
    assert torch.equal(deform_conv_cpu(*doubles), deform_conv(*doubles))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(deform_conv_cpu(*tensors), deform_conv(*tensors))
