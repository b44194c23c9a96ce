"""torch.compile part by part: the same values, few graphs, none for what training does not repeat."""

import pytest
import torch
from torch import nn

from spikevrt.config import load_config
from spikevrt.errors import UserError
from spikevrt.models import build_model, half_weights
from spikevrt.models.compiled_parts import compile_parts
from spikevrt.models.half_weights import weights_in_half
from spikevrt.models.randomness import SampleRandomness
from spikevrt.models.segments import Way, compute, following
from spikevrt.models.vrt.window_block import TMSAG, BlockSettings, WindowBlock
from spikevrt.system.device import autocast, require_c_compiler

SMALL = [
    "MODEL.USE_SPIKE=false",
    "MODEL.VRT.DEPTHS=[2,1,1,1,1,1,1,1]",
    "MODEL.VRT.INDEP_RECONSTS=[7]",
    "MODEL.ATTN_BACKEND=naive",
]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_model(load_config("demo", SMALL), pretrained=False).double()


@pytest.fixture
def counted(monkeypatch):
    """The number of graphs so far, compiled without a C compiler."""
    torch._dynamo.reset()
    graphs = []

    def keep(graph, inputs):
        graphs.append(graph)
        return graph

    yield keep, graphs
    torch._dynamo.reset()


def step(model, clip, half=None):
    """Output and gradients of a training step whose drop path has a fixed seed."""
    model.zero_grad()
    with SampleRandomness(model, 3).of([7], clip.device), weights_in_half(model, half):
        with autocast(clip.device, half):
            out = model(clip)
        out.float().square().mean().backward()
    return out.detach(), [p.grad.clone() for p in model.parameters() if p.grad is not None]


def test_values_are_those_of_the_plain_model_and_graphs_serve_every_later_step(model, counted):
    backend, graphs = counted
    clip = torch.rand(1, 2, 3, 64, 64, dtype=torch.float64)
    wanted, gradients = step(model.train(), clip)
    names = list(model.state_dict())
    assert compile_parts(model, backend) == 9 + 7 + 8  # Blocks, parallel warpings, reshapes.
    out, found = step(model, clip)
    assert (out - wanted).abs().max() < 1e-12
    for mine, theirs in zip(found, gradients, strict=True):
        assert (mine - theirs).abs().max() <= 1e-10 * theirs.abs().max() + 1e-14
    count = len(graphs)
    assert 8 < count < 40
    step(model, torch.rand_like(clip))
    with torch.compiler.set_stance("force_eager"), torch.no_grad():
        model.eval()(torch.rand(1, 2, 3, 96, 64, dtype=torch.float64))
    assert len(graphs) == count
    assert list(model.state_dict()) == names


def test_parts_multiply_with_the_copies_in_half_precision_and_are_computed_again_in_the_backward(counted, monkeypatch):
    monkeypatch.setattr(half_weights, "runs_on_cpu", lambda x: False)
    torch.manual_seed(0)
    settings = BlockSettings(2, checkpoint_attn=True, checkpoint_ffn=True, attn_backend="sdpa")
    blocks = nn.Sequential(*(WindowBlock(8, (2, 4, 4), (0, 0, 0), True, settings) for _ in range(2)))
    x, (backend, graphs) = torch.rand(1, 4, 8, 8, 8, requires_grad=True), counted

    wanted, gradients = step(blocks, x, torch.bfloat16)
    compile_parts(blocks, backend)
    for _ in range(2):
        out, found = step(blocks, x, torch.bfloat16)
        assert torch.equal(out, wanted)
        assert all(map(torch.equal, found, gradients))
    assert len(graphs) == 1


def test_segments_are_computed_again_around_compiled_blocks(counted):
    torch.manual_seed(0)
    settings = BlockSettings(2, attn_backend="naive")
    group, layer, (backend, graphs) = TMSAG(8, [0.0, 0.0], (2, 4, 4), False, settings), nn.Linear(8, 8), counted
    x = torch.rand(1, 4, 8, 8, 8, requires_grad=True)

    def gradients():
        out = group.with_linear(x, layer, settings.backends)
        return torch.autograd.grad(out.square().sum(), [x, *group.parameters(), *layer.parameters()])

    wanted = gradients()
    compile_parts(group, backend)
    with following(lambda one: compute(one, Way.AGAIN)):
        found = gradients()
    assert all(map(torch.equal, found, wanted))
    assert graphs


@pytest.mark.parametrize(("device", "named"), [("cpu", "CXX"), ("cuda", "CC")])
def test_without_a_compiler_one_line_says_what_to_install(device, named, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv(named, raising=False)
    with pytest.raises(UserError, match=rf"TRAIN.COMPILE = true: no compiler is found \(.* or {named}\)"):
        require_c_compiler(torch.device(device), "TRAIN.COMPILE")
