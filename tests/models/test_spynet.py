"""SpyNet with zero flow: it is not computed, until its weights change."""

import copy

import pytest
import torch

from spikevrt.models.vrt.spynet import SpyNet

FRAMES = torch.rand(4, 3, 40, 56, generator=torch.Generator().manual_seed(0))
EARLIER, LATER = torch.tensor([0, 1]), torch.tensor([2, 3])


@pytest.fixture
def still():
    spynet = SpyNet().requires_grad_(False)
    spynet.hold_still()
    return spynet


def computed(spynet, monkeypatch):
    """Whether a call runs the network."""
    calls = []
    whole = spynet._flows
    monkeypatch.setattr(spynet, "_flows", lambda *args: calls.append(1) or whole(*args))
    spynet.flows(FRAMES, EARLIER, LATER)
    return bool(calls)


def test_what_is_left_out_is_what_it_would_give(still):
    shown, whole = still.flows(FRAMES, EARLIER, LATER), still._flows(FRAMES, EARLIER, LATER)
    for a, b in zip(shown, whole, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_a_fresh_network_is_computed(monkeypatch):
    assert computed(SpyNet().requires_grad_(False), monkeypatch)


def test_one_that_is_held_still_is_not(still, monkeypatch):
    assert not computed(still, monkeypatch)


def test_one_that_trains_is_computed_and_gets_gradients(still):
    still.requires_grad_(True)
    sum(flow.sum() for flow in still.flows(FRAMES, EARLIER, LATER)).backward()
    assert all(level.basic_module[-1].weight.grad.any() for level in still.basic_module)


def test_weights_that_were_moved_are_noticed(still, monkeypatch):
    still.basic_module[3].basic_module[-1].bias.add_(1)
    assert computed(still, monkeypatch)


def test_loading_tells_which_kind_it_is(still, monkeypatch):
    moving, other = SpyNet().requires_grad_(False), SpyNet().requires_grad_(False)
    state = copy.deepcopy(moving.state_dict())
    other.load_state_dict(still.state_dict())
    assert not computed(other, monkeypatch)
    other.load_state_dict(state)
    assert computed(other, monkeypatch)


def test_it_stays_still_on_another_device_or_type_and_through_a_swap_of_equal_weights(still, monkeypatch):
    still.to(torch.float64).to(torch.float32)
    still.load_state_dict(copy.deepcopy(still.state_dict()))
    assert not computed(still, monkeypatch)
