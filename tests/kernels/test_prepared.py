"""Prepared weights: never those of other values, types or places, and no longer than the weights themselves."""

import copy
import gc
import weakref

import pytest
import torch
from torch import nn

from spikevrt.models.fusion.cross_attn_temporal import TemporalCrossBlock
from spikevrt.models.spike_temporal_sa import TemporalSelfBlock
from spikevrt_kernels.temporal_block import op, prepared
from spikevrt_kernels.temporal_block.prepared import flatten, prepare

HALF = torch.bfloat16
C = 16
IN_PROJ = {TemporalSelfBlock: "attn.in_proj_weight", TemporalCrossBlock: "attn.attn.in_proj_weight"}


def make_block(cross):
    torch.manual_seed(0)
    block = (TemporalCrossBlock if cross else TemporalSelfBlock)(C, 2, 0.0, 2, "naive", None)
    for parameter in block.parameters():
        nn.init.normal_(parameter)
    return block


def weights_of(block, monkeypatch):
    """The flat list that the operator takes: caught where the block calls it."""
    caught = []
    monkeypatch.setattr(op, "temporal_block_reference", lambda x, context, weights, *_: caught.append(weights) or x)
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


@pytest.fixture
def kept():
    prepared.KEPT.forget()
    yield prepared.KEPT
    prepared.KEPT.forget()


def test_they_are_made_once(block, kept, monkeypatch):
    weights = weights_of(block, monkeypatch)
    first = kept.get(weights, HALF)
    monkeypatch.setattr(prepared, "fold", None)
    again = kept.get(weights_of(block, monkeypatch), HALF)
    assert all(a is b for a, b in zip(first.folded, again.folded, strict=True))
    assert all(a is b for a, b in zip(flatten(first.weights), flatten(again.weights), strict=True))


def by_optimiser(block, name, **options):
    for parameter in block.parameters():
        parameter.grad = torch.ones_like(parameter)
    getattr(torch.optim, name)(block.parameters(), lr=0.1, **options).step()


def by_state_dict(block):
    block.load_state_dict({k: v + 1 for k, v in block.state_dict().items()})


def by_new_memory(block):
    for parameter in block.parameters():
        parameter.data = parameter.data + 1


def by_new_memory_where_the_old_was(block):
    """The allocator gives the place of the first values to the third."""
    for _ in range(2):
        by_new_memory(block)


def by_inner_write(block):
    with torch.no_grad():
        dict(block.named_parameters())[IN_PROJ[type(block)]][C + 1, 0] += 1


CHANGES = {
    "sgd": lambda b: by_optimiser(b, "SGD"),
    "adamw foreach": lambda b: by_optimiser(b, "AdamW", foreach=True),
    "adamw fused": lambda b: by_optimiser(b, "AdamW", fused=True),
    "load_state_dict": by_state_dict,
    "half and back": lambda b: b.half().float(),
    "double": lambda b: b.double(),
    "data =": by_new_memory,
    "data = twice": by_new_memory_where_the_old_was,
    "one value": by_inner_write,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changed_weights_are_prepared_again(block, kept, change, monkeypatch):
    before = [x.clone() for x in values(kept.get(weights_of(block, monkeypatch), HALF))]
    change(block)
    after = kept.get(weights_of(block, monkeypatch), HALF)
    pairs = zip(before, values(after), strict=True)
    assert not all(x.dtype == y.dtype and torch.equal(x, y) for x, y in pairs)
    assert same(after, prepare(weights_of(block, monkeypatch), HALF))


@pytest.mark.parametrize("at", range(14))
def test_a_change_of_any_single_weight_is_seen(at, kept, monkeypatch):
    weights = weights_of(make_block(True), monkeypatch)
    kept.get(weights, HALF)
    with torch.no_grad():
        weights[at].add_(1)
    assert same(kept.get(weights, HALF), prepare(weights, HALF))


def test_each_type_has_its_own(block, kept, monkeypatch):
    weights = weights_of(block, monkeypatch)
    for dtype in (HALF, torch.float16, torch.float32, HALF):
        assert same(kept.get(weights, dtype), prepare(weights, dtype))


def test_a_copy_of_a_block_has_its_own(block, kept, monkeypatch):
    kept.get(weights_of(block, monkeypatch), HALF)
    other = copy.deepcopy(block)
    by_inner_write(other)
    for each in (block, other):
        assert same(kept.get(weights_of(each, monkeypatch), HALF), prepare(weights_of(each, monkeypatch), HALF))


def test_an_entry_goes_with_its_weight(kept, monkeypatch):
    block = make_block(False)
    kept.get(weights_of(block, monkeypatch), torch.float32)
    monkeypatch.undo()
    assert len(kept.entries) == 1
    del block
    gc.collect()
    assert kept.entries == {}


@pytest.mark.parametrize("dtype", [HALF, torch.float32])
def test_no_weight_is_held(kept, dtype, monkeypatch):
    weights = [w.detach().clone() for w in weights_of(make_block(False), monkeypatch)]
    kept.get(weights, dtype)
    watched = [weakref.ref(w) for w in weights[1:]]
    del weights[1:]
    gc.collect()
    assert [w() for w in watched] == [None] * len(watched)
    assert len(kept.entries) == 1


def test_an_alias_with_a_version_of_its_own_is_another_weight(kept, monkeypatch):
    weights = [w.detach().clone() for w in weights_of(make_block(False), monkeypatch)]
    weights[1].add_(0)
    kept.get(weights, HALF)
    alias = weights[1].data
    while alias._version < weights[1]._version:
        alias.add_(1)
    weights[1] = alias
    assert same(kept.get(weights, HALF), prepare(weights, HALF))


def test_weights_without_versions_are_not_kept(kept, monkeypatch):
    with torch.inference_mode():
        weights = [w.clone() for w in weights_of(make_block(False), monkeypatch)]
        assert same(kept.get(weights, HALF), prepare(weights, HALF))
    assert kept.entries == {}


def test_autocast_does_not_round_what_is_folded(block, monkeypatch):
    weights = weights_of(block, monkeypatch)
    with torch.autocast("cpu", HALF):
        under = prepare(weights, HALF)
    assert same(under, prepare(weights, HALF))
