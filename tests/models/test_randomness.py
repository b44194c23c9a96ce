"""A sample's drop path and dropout depend on seed, draw and layer, not on the batch that it is in."""

import pytest
import torch
from torch import nn

from spikevrt.models.randomness import DropPath, SampleRandomness, seeded
from spikevrt.models.temporal import MultiScaleTemporalCrossAttnFuse, SpikeTemporalSA
from spikevrt.models.vrt.window_block import TMSAG, BlockSettings

CPU = torch.device("cpu")
DRAWS = [5, 0, 17, 2**40]


class Layers(nn.Module):
    """Window blocks with drop path, then self-attention and cross-attention along time with dropout."""

    def __init__(self, backend: str, dropout: float = 0.4, checkpointing: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        settings = BlockSettings(2, 2, True, checkpointing, checkpointing, "naive")
        self.blocks = TMSAG(8, (0.5, 0.5), (2, 4, 4), False, settings)
        self.time = SpikeTemporalSA((8,), 2, dropout, attn_backend=backend)
        self.fuse = MultiScaleTemporalCrossAttnFuse((8,), 2, dropout, attn_backend=backend)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.3)
        self.double().train()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B,D,H,W,8) -> (B,8,D,H,W)."""
        features = self.blocks(x).permute(0, 4, 1, 2, 3)
        return self.fuse(features, self.time([features])[0], 0)


def frames(count: int = len(DRAWS)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(1, 2, 8, 8, 8, dtype=torch.float64, generator=generator).expand(count, -1, -1, -1, -1)


@pytest.mark.parametrize("backend", ["naive", "sdpa"])
def test_a_sample_is_the_same_in_every_batch(backend):
    model = Layers(backend)
    random = SampleRandomness(model, 3)
    with random.of(DRAWS, CPU):
        together = model(frames())
    alone = []
    for draw in reversed(DRAWS):
        with random.of([draw], CPU):
            alone.insert(0, model(frames(1)))
    assert (together - torch.cat(alone)).abs().max() < 1e-12
    assert len({round(x.item(), 9) for x in together.sum((1, 2, 3, 4))}) == len(DRAWS), "every draw has its numbers"
    with SampleRandomness(model, 4).of(DRAWS, CPU):
        assert (model(frames()) - together).abs().max() > 1e-3, "another seed, other numbers"


def test_torchs_generator_is_left_as_it_was_and_decides_without_draws():
    model = Layers("naive")
    random = SampleRandomness(model, 3)
    before = torch.get_rng_state()
    with random.of(DRAWS, CPU):
        model(frames())
    assert torch.equal(torch.get_rng_state(), before)
    results = []
    for _ in range(2):
        torch.manual_seed(7)
        with random.of([], CPU):
            results.append(model(frames()))
    assert torch.equal(*results)
    assert not torch.equal(model(frames()), results[0])


def test_every_layer_has_numbers_of_its_own():
    model = Layers("naive")
    with SampleRandomness(model, 3).of(DRAWS, CPU):
        paths = [m.uniform for m in model.modules() if isinstance(m, DropPath)]
        seeds = [m.dropout.seeds for m in (model.time.blocks[0], model.fuse.fuse_blocks[0])]
    assert len({tuple(row.tolist()) for row in paths}) == 4, "two blocks, attention and MLP of each"
    assert all(row.shape == (4,) and row.min() >= 0 and row.max() < 1 for row in paths)
    assert len({seed for row in seeds for seed in row}) == 8


def test_recomputed_blocks_drop_what_they_dropped():
    gradients = []
    for checkpointing in (False, True):
        model = Layers("naive", checkpointing=checkpointing)
        with SampleRandomness(model, 3).of(DRAWS, CPU):
            out = model(frames())
            torch.rand(3)  # What others draw in between does not matter.
            out.square().sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert (gradients[0] - gradients[1]).abs().max() < 1e-9 * gradients[0].abs().max()


def test_in_eval_mode_nothing_is_dropped():
    model = Layers("naive").eval()
    with SampleRandomness(model, 3).of(DRAWS, CPU):
        out = model(frames())
    assert torch.equal(out[0], out[1])


def test_compiled_code_takes_new_numbers_without_being_compiled_anew():
    model = Layers("naive")
    random = SampleRandomness(model, 3)
    compiled = []

    def backend(graph, _):
        compiled.append(graph)
        return graph

    fast = torch.compile(model, backend=backend)
    torch._dynamo.reset()
    for step, draws in enumerate(([1, 2], [3, 4], [5, 6])):
        with random.of(draws, CPU):
            assert (fast(frames(2)) - model(frames(2))).abs().max() < 1e-12
        if step == 0:
            count = len(compiled)
    assert len(compiled) == count >= 1


def test_a_seed_holds_only_inside():
    torch.manual_seed(0)
    first = torch.rand(1)
    torch.manual_seed(0)
    with seeded(9, CPU):
        inside = torch.rand(1)
    assert torch.equal(torch.rand(1), first)
    with seeded(9, CPU):
        assert torch.equal(torch.rand(1), inside)
