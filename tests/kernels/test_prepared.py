"""The block's weights in the form that its kernels take."""

import pytest
import torch
from torch import nn

from spikevrt.models.temporal import TemporalCrossBlock, TemporalSelfBlock, TimeSettings
from spikevrt_kernels.temporal_block import op
from spikevrt_kernels.temporal_block.triton.prepared import flatten, prepare

HALF = torch.bfloat16
C = 16


def make_block(cross):
    torch.manual_seed(0)
    block = (TemporalCrossBlock if cross else TemporalSelfBlock)(C, TimeSettings(heads=2, attn_backend="naive"))
    for parameter in block.parameters():
        nn.init.normal_(parameter)
    return block


def weights_of(block, monkeypatch):
    """The flat list that the operator takes: caught where the block calls it."""
    caught = []
    monkeypatch.setitem(op.RUN, "naive", lambda x, context, weights, *_: caught.append(weights) or x)
    x = torch.zeros(1, C, 1, 1, 1, dtype=next(block.parameters()).dtype)
    block(*([x, x] if isinstance(block, TemporalCrossBlock) else [x]))
    return flatten(caught[0])


def values(made):
    return [*flatten(made.weights), *made.folded]


def same(a, b):
    return all(x.dtype == y.dtype and torch.equal(x, y) for x, y in zip(values(a), values(b), strict=True))


@pytest.fixture(params=[False, True], ids=["self", "cross"])
def block(request):
    return make_block(request.param)


def test_autocast_does_not_round_what_is_folded(block, monkeypatch):
    weights = weights_of(block, monkeypatch)
    with torch.autocast("cpu", HALF):
        under = prepare(weights, HALF)
    assert same(under, prepare(weights, HALF))
