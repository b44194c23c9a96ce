"""Weights in half precision: the same bits as autocast's own casts, in a few launches, and nothing stays changed."""

import pytest
import torch

from spikevrt.config import load_config
from spikevrt.models import build_model, half_weights
from spikevrt.models.half_weights import groups_of, half_precision, weights_in_half
from spikevrt_kernels.proof.operator_counter import count_operators

HALF = torch.bfloat16
SMALL = ["MODEL.USE_SPIKE=false", "MODEL.VRT.DEPTHS=[2,1,1,1,1,1,1,1]", "MODEL.VRT.INDEP_RECONSTS=[7]"]
"""The spike encoder computes in float32 on the CPU."""


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_model(load_config("demo", SMALL), pretrained=False)


@pytest.fixture(autouse=True)
def as_on_cuda(monkeypatch):
    monkeypatch.setattr(half_weights, "runs_on_cpu", lambda x: False)


@pytest.fixture
def clip():
    return torch.rand(1, 2, 3, 64, 64)


def step(model, clip):
    """Output and gradients under autocast."""
    model.zero_grad()
    with torch.autocast("cpu", HALF):
        out = model(clip)
    out.square().mean().backward()
    return out.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_output_and_gradients_have_the_bits_of_plain_autocast(model, clip):
    wanted, gradients = step(model, clip)
    before = dict(model.named_parameters())
    with weights_in_half(model, HALF):
        assert model.stage1.linear1.weight.dtype == HALF
        assert model.stage1.linear1.bias.dtype == torch.float32
        assert model.conv_first.bias.dtype == HALF
        assert all(p.dtype == torch.float32 for p in model.spynet.parameters())
    assert all(p is before[name] for name, p in model.named_parameters())
    model.zero_grad()
    with weights_in_half(model, HALF):
        with torch.autocast("cpu", HALF):
            out = model(clip)
        out.square().mean().backward()
    assert torch.equal(out, wanted)
    assert gradients.keys() == {name for name, p in model.named_parameters() if p.grad is not None}
    for name, gradient in gradients.items():
        found = before[name].grad
        # The mutual projection is used twice: its two gradients are added in half precision, and not after their casts.
        assert torch.equal(found, gradient) or (
            "qkv_mut" in name and (found - gradient).norm() < 0.01 * gradient.norm()
        )


def test_weights_are_cast_by_one_launch_for_each_part(model, clip):
    with torch.no_grad(), count_operators() as plain, torch.autocast("cpu", HALF):
        model(clip)
    with torch.no_grad(), count_operators() as grouped, half_precision(model, torch.device("cpu"), HALF):
        model(clip)
    assert grouped.launches < plain.launches - len(groups_of(model)) - 100
    assert grouped.by_operator["aten::_foreach_copy_"] > 0


def test_frozen_weights_get_no_gradient(model, clip):
    frozen = model.stage1.pa_deform
    frozen.requires_grad_(False)
    try:
        model.zero_grad()
        with weights_in_half(model, HALF):
            assert not frozen.conv_offset[0].weight.requires_grad
            with torch.autocast("cpu", HALF):
                model(clip).square().mean().backward()
    finally:
        frozen.requires_grad_(True)
    assert all(p.grad is None for p in frozen.parameters())
    assert model.stage1.linear1.weight.grad is not None


def test_weights_come_back_after_an_error(model):
    before = dict(model.named_parameters())
    with pytest.raises(ZeroDivisionError), weights_in_half(model, HALF):
        raise ZeroDivisionError
    assert all(p is before[name] for name, p in model.named_parameters())


def test_without_autocast_nothing_changes(model):
    with weights_in_half(model, None):
        assert model.stage1.linear1.weight.dtype == torch.float32
