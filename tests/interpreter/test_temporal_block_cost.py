"""The fused block reads and writes the bytes that it declares, for three shapes."""

import pytest
import torch

from spikevrt.models.temporal import TemporalCrossBlock, TemporalSelfBlock, TimeSettings
from spikevrt_kernels.proof.byte_counter import count_bytes
from spikevrt_kernels.proof.operator_counter import count_operators
from spikevrt_kernels.temporal_block import spec as cost
from spikevrt_kernels.temporal_block.spec import DECLARED, FEATURES, backward_cost, forward_cost
from spikevrt_kernels.temporal_block.triton import launch

SHAPES = {  # B, C, T, Tk, H, W, MLP ratio
    "self-C24-R48": (1, 24, 2, None, 5, 4, 2),
    "self-C16-R16": (2, 16, 1, None, 3, 3, 1),
    "cross-C8-R32": (1, 8, 2, 3, 3, 5, 4),
}


@pytest.mark.parametrize("architecture", [80, 90])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_declared_bytes_and_launches_are_those_of_the_interpreter(shape, architecture, monkeypatch):
    for module in (cost, launch):
        monkeypatch.setattr(module, "architecture", lambda device: architecture)
    B, C, T, Tk, H, W, ratio = shape
    kind = TemporalSelfBlock if Tk is None else TemporalCrossBlock
    block = kind(C, TimeSettings(heads=2, mlp_ratio=ratio, attn_backend="triton"))
    inputs = [torch.randn(B, C, t, H, W, requires_grad=True) for t in (T, Tk) if t is not None]
    context = None if Tk is None else inputs[1]
    with count_bytes() as launches, count_operators(DECLARED) as traffic:
        out = block(*inputs)
    declared = forward_cost(inputs[0], context, torch.float32, True, architecture)
    assert (sum(k.total(*FEATURES) for k in launches), len(launches)) == declared
    assert traffic.by_operator["spikevrt::temporal_block"] == declared.bytes
    with count_bytes() as launches, count_operators(DECLARED) as traffic, torch.no_grad():
        block(*inputs)
    declared = forward_cost(inputs[0], context, torch.float32, False, architecture)
    assert (sum(k.total(*FEATURES) for k in launches), len(launches)) == declared
    assert traffic.by_operator["spikevrt::temporal_block"] == declared.bytes
    with count_bytes() as launches, count_operators(DECLARED) as traffic:
        torch.autograd.grad(out, [*inputs, *block.parameters()], torch.randn_like(out))
    declared = backward_cost(inputs[0], context, ratio * C, torch.float32)
    assert (sum(k.total(*FEATURES) for k in launches), len(launches)) == declared
    assert traffic.by_operator["spikevrt::temporal_block_backward"] == declared.bytes
