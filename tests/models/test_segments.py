"""Segments: whatever is computed again, outputs and gradients have the same bits."""

import pytest
import torch

from spikevrt.config import load_config
from spikevrt.models import build_model
from spikevrt.models.build import run_model
from spikevrt.models.randomness import SampleRandomness
from spikevrt.models.segments import DIRECTOR, Plan, Way, compute, following
from spikevrt_kernels.proof.operator_counter import count_saved

SMALL = [
    "MODEL.VRT.DEPTHS=[3,1,1,1,1,1,1,2]",
    "MODEL.VRT.INDEP_RECONSTS=[7]",
    "MODEL.VRT.DROP_PATH=0.5",
    "MODEL.SPIKE_TSA.DROPOUT=0.2",
    "DATA.K=4",
]


@pytest.fixture(scope="module", params=["sdpa", "naive"])
def model(request):
    torch.manual_seed(0)
    config = load_config("demo", [*SMALL, f"MODEL.ATTN_BACKEND={request.param}"])
    return build_model(config, pretrained=False).train()


@pytest.fixture(scope="module")
def clip():
    torch.manual_seed(1)
    return torch.rand(2, 2, 3, 64, 64), torch.rand(2, 2, 4, 32, 32)


def step(model, clip, director=None):
    """Output, gradients, and the bytes that the forward keeps."""
    model.zero_grad()
    with SampleRandomness(model, 3).of([7, 8], torch.device("cpu")):
        with count_saved(*model.parameters(), *clip) as kept:
            if director is None:
                out = run_model(model, *clip)
            else:
                with director:
                    out = run_model(model, *clip)
        out.square().mean().backward()
    assert DIRECTOR.get() is None
    return out.detach(), [p.grad for p in model.parameters() if p.grad is not None], sum(kept)


def segments_of(model, clip):
    found = []

    def look(one):
        found.append(one)
        return compute(one, Way.KEEP)

    with following(look), torch.no_grad():
        run_model(model, *clip)
    return found


def test_every_way_has_the_same_bits_and_keeps_less_than_the_one_before(model, clip):
    wanted, gradients, all_kept = step(model, clip)
    segments = segments_of(model, clip)
    before = None
    for way in Way:
        plan = Plan([way if way in one.ways else Way.KEEP for one in segments])
        out, found, kept = step(model, clip, plan.followed())
        assert torch.equal(out, wanted)
        assert len(found) == len(gradients)
        assert all(map(torch.equal, found, gradients))
        assert kept <= all_kept if before is None else kept < before
        before = kept


def test_segments_of_a_model_follow_one_another(model, clip):
    labels = [one.label for one in segments_of(model, clip)]
    stage = ["reshape", "blocks", "blocks and linear", "alignment"]
    assert labels[:8] == ["spike encoder"] * 4 + ["spike attention"] * 4
    assert labels[8:10] == ["flow", "first layer"]
    assert labels[10:15] == ["reshape", "blocks and linear", "blocks and linear", "alignment", "fusion"]
    assert labels[-1] == "last layers"
    assert stage
