"""Tiles: they cover frames, start at whole windows, and what they give adds up to what whole frames give."""

from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from torch import nn

from spikevrt.config.limits import MULTIPLE, least_side
from spikevrt.data.clips.augmentation import Grid
from spikevrt.errors import UserError
from spikevrt.models import build_model
from spikevrt.restoration import window
from spikevrt.restoration.memory import RestorationMemory
from spikevrt.restoration.padding import plan_padding
from spikevrt.restoration.sources import Frame
from spikevrt.restoration.tiles import least_tile, plan_tiles, tile_step
from spikevrt.restoration.window import WindowRestorer
from tests.small_data import small_config

CPU = torch.device("cpu")
RATIOS = [Fraction(1), Fraction(1, 2), Fraction(1, 3), Fraction(2, 3), Fraction(3, 4)]


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("shape", [(2, 4, 4), (6, 8, 8), (6, 4, 8)])
@pytest.mark.parametrize("extra", [0, 50, 300])
def test_tiles_start_at_whole_windows_and_their_weights_add_up_to_one(ratio, shape, extra):
    size = plan_padding((360, 720), shape, ratio).padded
    step = tile_step(shape, ratio)
    side = least_tile(shape, step) + extra
    tiling = plan_tiles(size, side, 32, step)
    total = torch.zeros(size)
    for tile in tiling.tiles:
        tile.cut(total).add_(tile.weight)
        for span, window_side in zip(tile[:2], shape[1:], strict=True):
            assert span.start % (MULTIPLE * window_side) == 0
            assert span.length % MULTIPLE == 0
            assert least_side(window_side) <= span.length <= side
            assert span.scaled(ratio).start == span.start * ratio
        assert float(tile.weight.min()) > 0
    assert torch.allclose(total, torch.ones(size))
    for spans in (tiling.rows, tiling.columns):
        assert all(before.end - after.start >= min(32, side // step * step - step) for before, after in pairwise(spans))


def test_whole_frames_are_one_tile():
    assert plan_tiles((720, 1280), None, 64, 64).whole
    assert plan_tiles((128, 128), 128, 64, 64).whole
    assert not plan_tiles((128, 136), 128, 64, 64).whole


class Pointwise(nn.Module):
    """Every pixel by itself: the colour, and the spikes there."""

    def __init__(self, ratio):
        super().__init__()
        self.up, self.shapes = int(1 / ratio), []

    def forward(self, rgb, voxels):
        self.shapes.append(tuple(rgb.shape[-2:]))
        spikes = voxels.mean(2, keepdim=True).repeat_interleave(self.up, -1).repeat_interleave(self.up, -2)
        return 0.5 * rgb + spikes


def frames_of(size, ratio, count):
    torch.manual_seed(0)
    h, w = (int(side * ratio) for side in size)
    made = [
        (torch.randint(0, 256, (3, *size), dtype=torch.uint8), torch.randint(0, 3, (4, h, w))) for _ in range(count)
    ]
    return [Frame(blur, lambda _, counts=counts: (counts, torch.full((4,), 2))) for blur, counts in made]


@pytest.mark.parametrize("ratio", [Fraction(1), Fraction(1, 2)])
def test_tiles_of_a_window_give_what_whole_frames_give(tree, ratio):
    size, grid = (98, 150), Grid(ratio.denominator, ratio)
    results = []
    for options in (("TEST.TILE_SIZE=none",), ("TEST.TILE_SIZE=64", "TEST.TILE_OVERLAP=16"), ("TEST.TILE_SIZE=auto",)):
        config, model = small_config(tree, *options), Pointwise(ratio)
        results.append(WindowRestorer(model, config, CPU).restore(0, frames_of(size, ratio, 3), grid))
        assert (max(max(shape) for shape in model.shapes) <= 64) == ("64" in options[0])
    assert results[0].shape == (3, 3, *size)
    for tiled in results[1:]:
        assert torch.allclose(tiled, results[0], atol=1e-6)


def test_flow_is_that_of_whole_frames_and_computed_once_a_pair(tree, monkeypatch):
    config = small_config(tree, "TEST.TILE_SIZE=80", "TEST.TILE_OVERLAP=16", "MODEL.USE_SPIKE=false")
    model = build_model(config, False).eval()
    nn.init.normal_(model.spynet.basic_module[-1].basic_module[-1].weight, std=0.1)
    frames = frames_of((104, 136), Fraction(1), 4)
    whole = model.flows(torch.stack([frame.blur for frame in frames])[None].float() / 255)
    asked, given = [], []
    plain, forward = model.flows, model.forward
    monkeypatch.setattr(model, "flows", lambda x: asked.append(x.shape) or plain(x))
    monkeypatch.setattr(model, "forward", lambda x, flows: given.append(flows) or forward(x, flows=flows))
    restorer, known = WindowRestorer(model, config, CPU), {}
    with torch.no_grad():
        for start in (0, 1):
            restorer.restore(start, frames[start : start + 3], Grid(), known)
    assert asked == [(1, 2, 3, 104, 136)] * 3
    tiles = restorer.tiling(plan_padding((104, 136), config.model.window_size)).tiles
    assert len(given) == 2 * len(tiles) > 6
    for start in (0, 1):
        for tile, flows in zip(tiles, given[start * len(tiles) :], strict=False):
            for side, wanted in zip(flows, whole, strict=True):
                for level, flow in enumerate(side):
                    expected = tile.cut(wanted[level], Fraction(1, 2**level))[:, start : start + 2]
                    assert torch.allclose(flow, expected, atol=1e-4)


def test_rows_of_large_frames_are_corrected_in_strips(monkeypatch):
    from spikevrt.models.vrt import spynet

    torch.manual_seed(0)
    net, x = spynet.BasicModule(), torch.randn(2, 8, 70, 11)
    wanted = net(x)
    monkeypatch.setattr(spynet, "STRIP_PIXELS", 11)
    with torch.no_grad():
        assert torch.allclose(net(x), wanted, atol=1e-6)


def test_auto_takes_the_largest_tiles_that_fit(tree, monkeypatch):
    restorer = WindowRestorer(build_model(small_config(tree), False), small_config(tree), CPU)
    padding = plan_padding((1080, 1920), restorer.config.model.window_size)
    monkeypatch.setattr(window, "restoration_memory", lambda *_: RestorationMemory(10**6, 1000.0))
    held = restorer._of_whole_frames(padding)
    for megabytes, side in ((10_000, None), (600, 768), (300, 512), (1, 64)):
        monkeypatch.setattr(window, "free_for_tensors", lambda _, size=megabytes: held + size * 10**6)
        assert restorer._fitting(padding) == side
    assert restorer._fitting(plan_padding((480, 480), (2, 4, 4))) is None


def test_tiles_that_are_too_small_are_refused(tree):
    config = small_config(tree, "TEST.TILE_SIZE=32")
    with pytest.raises(UserError, match=r"TEST\.TILE_SIZE = 32: below \d+"):
        WindowRestorer(Pointwise(1), config, CPU).restore(0, frames_of((98, 150), Fraction(1), 3), Grid())


def test_where_memory_runs_out_tiles_become_smaller(tree):
    class Limited(Pointwise):
        def forward(self, rgb, voxels):
            if rgb.shape[-1] > 200:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().forward(rgb, voxels)

    frames = frames_of((104, 304), Fraction(1), 3)
    limited = WindowRestorer(Limited(1), small_config(tree), CPU).restore(0, frames, Grid())
    whole = WindowRestorer(Pointwise(1), small_config(tree), CPU).restore(0, frames, Grid())
    assert torch.allclose(limited, whole, atol=1e-6)
    with pytest.raises(torch.OutOfMemoryError):
        WindowRestorer(Limited(1), small_config(tree, "TEST.TILE_SIZE=none"), CPU).restore(0, frames, Grid())
