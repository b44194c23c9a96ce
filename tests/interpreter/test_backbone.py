"""Parts of the backbone in the interpreter in float64: all kernels in place of `naive`."""

import pytest
import torch

from spikevrt.config.limits import PLACES
from spikevrt.models.randomness import DropPath
from spikevrt.models.segments import Way, compute, following
from spikevrt.models.vrt.stage import Stage
from spikevrt.models.vrt.window_block import TMSAG, BlockSettings

C, HEADS, GROUPS, WINDOW = 16, 2, 2, (2, 4, 4)


def randomised(module):
    """The module in float64 with random parameters; the blocks of drop path keep their second sample alone."""
    module = module.double().train()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    for path in (m for m in module.modules() if isinstance(m, DropPath)):
        path.uniform = torch.tensor([0.9, 0.1])
    return module


def pair(make):
    """The same module with kernels and without."""
    kernels, naive = (randomised(make(BlockSettings(HEADS, attn_backend=backend))) for backend in ("triton", "naive"))
    naive.load_state_dict(kernels.state_dict())
    return kernels, naive


def run(module, inputs):
    """Output and the gradients of inputs and parameters."""
    leaves = [x.clone().requires_grad_() for x in inputs]
    torch.manual_seed(1)
    out = module(*leaves)
    every = [*leaves, *module.parameters()]
    found = torch.autograd.grad((out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum(), every, allow_unused=True)
    return [out, *(g for g in found if g is not None)]


def same(make, *inputs):
    for found, wanted in zip(*(run(module, inputs) for module in pair(make)), strict=True):
        assert found.dtype == wanted.dtype
        assert (found - wanted).norm() < 1e-12 * wanted.norm().clamp_min(1e-6)


@pytest.mark.parametrize("mutual", [False, True], ids=["self", "mutual"])
def test_a_pair_of_blocks_with_drop_path(mutual):
    x = torch.randn(2, 3, 5, 6, C, dtype=torch.float64)  # The last windows are padded.
    same(lambda settings: TMSAG(C, [0.3, 0.3], WINDOW, mutual, settings), x)


@pytest.mark.parametrize("number", [0, 1, 4], ids=["none", "down", "up"])
def test_a_stage_without_blocks(number):
    """Reshape, group linears, warping of the neighbours and their fusion."""
    place = PLACES[number]
    sides, width = {"none": ((4, 5), C), "down": ((8, 10), C), "up": ((2, 3), 2 * C)}[place.reshape]
    x = torch.randn(1, width, 3, *sides, dtype=torch.float64)
    h, w = (side * 2 if place.reshape == "up" else side // 2 if place.reshape == "down" else side for side in sides)
    flows = 0.7 * torch.randn(2, 1, 2, 2, h, w, dtype=torch.float64)
    same(lambda settings: Stage(width, C, [], WINDOW, place, settings, GROUPS), x, *flows)


def test_whatever_segments_compute_again_the_gradients_have_the_same_bits():
    place, flows = PLACES[0], 0.7 * torch.randn(2, 1, 1, 2, 4, 4, dtype=torch.float64)
    settings = BlockSettings(HEADS, attn_backend="triton")
    stage = randomised(Stage(C, C, [0.3, 0.3], WINDOW, place, settings, GROUPS, mul_attn_ratio=0.5))
    x = torch.randn(2, C, 2, 4, 4, dtype=torch.float64)
    flows = flows.expand(2, 2, 1, 2, 4, 4)
    wanted = run(stage, [x, *flows])
    for way in Way:
        with following(lambda one, way=way: compute(one, way if way in (*one.ways, Way.SPARE) else Way.KEEP)):
            found = run(stage, [x, *flows])
        assert all(map(torch.equal, found, wanted)), way
