"""Segments: whatever is computed again, outputs and gradients have the same bits."""

from contextlib import nullcontext

import pytest
import torch

from spikevrt.config import load_config
from spikevrt.models import build_model
from spikevrt.models.build import run_model
from spikevrt.models.randomness import SampleRandomness
from spikevrt.models.segments import DIRECTOR, Plan, Way, compute, following

SMALL = [
    "MODEL.VRT.DEPTHS=[5,1,1,1,1,1,1,2]",
    "MODEL.VRT.INDEP_RECONSTS=[7]",
    "MODEL.VRT.DROP_PATH=0.5",
    "MODEL.SPIKE_TSA.DROPOUT=0.2",
    "DATA.K=4",
]


@pytest.fixture(scope="module")
def clip():
    torch.manual_seed(1)
    return torch.rand(2, 2, 3, 64, 64), torch.rand(2, 2, 4, 32, 32)


def small_model(backend):
    torch.manual_seed(0)
    config = load_config("demo", [*SMALL, f"MODEL.ATTN_BACKEND={backend}"])
    return build_model(config, pretrained=False).train()


def step(model, clip, plan=None):
    """Output and gradients."""
    model.zero_grad()
    followed = plan.followed() if plan is not None else nullcontext()
    with SampleRandomness(model, 3).of([7, 8], torch.device("cpu")), followed:
        out = run_model(model, *clip)
        out.square().mean().backward()
    assert DIRECTOR.get() is None
    assert not any(flags_of(model))
    return out.detach(), [p.grad for p in model.parameters() if p.grad is not None]


def flags_of(model):
    """What plans have told its modules."""
    names = ("project_again", "alone", "overwrite")
    return [vars(module)[name] for module in model.modules() for name in names if name in vars(module)]


def segments_of(model, clip):
    found = []

    def look(one):
        found.append(one)
        return compute(one, Way.KEEP)

    with following(look), torch.no_grad():
        run_model(model, *clip)
    return found


@pytest.mark.parametrize("backend", ["sdpa", "naive"])
def test_every_way_has_the_same_bits(backend, clip):
    model = small_model(backend)
    wanted, gradients = step(model, clip)
    segments = segments_of(model, clip)
    assert {way for one in segments for way in one.ways} == set(Way) - {Way.SPARE}, "the CPU has no operator for it"
    for way in Way:
        plan = Plan([way if way in one.ways else Way.KEEP for one in segments])
        out, found = step(model, clip, plan)
        assert torch.equal(out, wanted)
        assert len(found) == len(gradients)
        assert all(map(torch.equal, found, gradients)), way


def test_segments_follow_one_another_and_hold_every_parameter(clip):
    model = small_model("sdpa")
    segments = segments_of(model, clip)
    labels = [one.label for one in segments]
    assert labels[:10] == ["spike encoder"] * 4 + ["spike attention"] * 4 + ["flow", "first layer"]
    stage = ["reshape", "blocks", "blocks and linear", "blocks and linear", "alignment", "fusion"]
    assert labels[10:16] == stage
    assert labels[-2:] == ["blocks and linear", "last layers"]
    held = {id(p) for one in segments for part in one.parts for p in part.parameters()}
    assert held == {id(p) for p in model.parameters()}


def test_a_plan_for_another_model_is_refused(clip):
    model = small_model("sdpa")
    count = len(segments_of(model, clip))
    with pytest.raises(AssertionError, match="fewer segments"):
        step(model, clip, Plan([Way.KEEP] * (count + 1)))
