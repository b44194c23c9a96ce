"""Loss, learning rate, parameter groups, EMA, numbered checkpoints."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from spikevrt.config import TrainConfig
from spikevrt.models import build_model
from spikevrt.training.checkpoints import drop_old, numbered
from spikevrt.training.loss import charbonnier, make_loss
from spikevrt.training.optimisation import (
    WeightEMA,
    freeze_flow,
    hold_flow_still,
    is_flow,
    learning_rate,
    make_optimizer,
    set_learning_rate,
    total_steps,
)
from tests.small_data import small_config


def test_charbonnier_is_computed_in_float32():
    a, b = torch.tensor([0.5, 0.25, 1.0]), torch.tensor([0.5, 0.0, 0.0])
    wanted = sum(math.sqrt(d * d + 1e-6) for d in (0, 0.25, 1)) / 3
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        loss = charbonnier(a.to(dtype), b.to(dtype), 1e-3)
        assert loss.dtype == torch.float32
        assert float(loss) == pytest.approx(wanted, rel=1e-6)


def test_the_psnr_loss_is_the_mean_over_frames_and_ends_at_rounding():
    loss = make_loss(TrainConfig(loss="psnr"))
    sharp = torch.rand(1, 3, 3, 8, 8)
    blurred = sharp.clone()
    blurred[0, 0] += 0.1
    blurred[0, 1] += 0.001
    wanted = -(20 + 10 * math.log10(1 / (1e-6 + 1 / (12 * 255**2))) + 10 * math.log10(12 * 255**2)) / 3
    assert float(loss(blurred, sharp)) == pytest.approx(wanted, rel=1e-3)
    half = loss(blurred.bfloat16(), sharp)
    assert half.dtype == torch.float32
    assert torch.isfinite(half)
    assert float(make_loss(TrainConfig())(blurred, sharp)) == pytest.approx(float(charbonnier(blurred, sharp, 1e-3)))


def test_errors_of_colour_and_of_areas_count_more_in_the_colour_loss():
    loss = make_loss(TrainConfig(loss="colour-psnr"))
    random = np.random.default_rng(0)
    sharp, error = random.random((2, 1, 3, 20, 37)), random.normal(0, 0.1, (2, 1, 3, 20, 37))
    error[0] += 0.1  # All of the frame is too bright.
    squares = []
    for frame in error[:, 0]:
        red, green, blue = frame
        light = 0.299 * red + 0.587 * green + 0.114 * blue
        chroma = np.stack([(blue - light) / 1.772, (red - light) / 1.402])
        areas = [frame[:, y : y + 16, x : x + 16].mean((1, 2)) for y in (0, 16) for x in (0, 16, 32)]
        whole = frame.mean((1, 2))
        parts = 4 * (chroma**2).mean() + 4 * np.square(areas).mean() + 16 * (whole**2).mean()
        squares.append((frame**2).mean() + parts + 1 / (12 * 255**2))
    output = torch.tensor(sharp + error, dtype=torch.float32, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(output, torch.tensor(sharp, dtype=torch.float32))
    assert found.item() == pytest.approx(10 * np.log10(squares).mean(), rel=1e-5)
    found.backward()
    assert output.grad is not None
    assert torch.isfinite(output.grad).all()
    grey = torch.full((1, 1, 3, 16, 16), 0.1)
    coloured = grey * torch.tensor([1.0, -1.0, 1.0])[:, None, None]
    checks = grey * (1 - 2 * (torch.arange(256).view(16, 16) % 2))
    assert float(loss(coloured, 0 * grey)) > float(loss(grey, 0 * grey)) > float(loss(checks, 0 * grey)) + 10


def test_the_rate_warms_up_and_ends_at_the_least():
    train = TrainConfig(lr=1e-3, min_lr=1e-5, warmup_steps=10)
    rates = [learning_rate(train, step, 110) for step in range(110)]
    assert rates[0] == pytest.approx(1e-4)
    assert rates[9] == rates[10] == max(rates) == 1e-3
    assert rates[60] == pytest.approx((1e-3 + 1e-5) / 2)
    assert rates[-1] == pytest.approx(1e-5, rel=0.05)
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert learning_rate(TrainConfig(), 0, 1) == TrainConfig().lr


def test_steps_follow_from_epochs_unless_given():
    assert total_steps(TrainConfig(epochs=3, batch_size=2, accumulate_grad=2), samples=17, world=2) == 3 * 3
    assert total_steps(TrainConfig(max_steps=5), samples=17, world=1) == 5


def test_epochs_stay_passes_over_the_samples_when_the_size_of_a_step_changes():
    train = TrainConfig(epochs=10, batch_size=2)
    assert total_steps(train, samples=20, world=1) == 100
    assert total_steps(train, samples=20, world=1, step=50, draws=100) == 100
    assert total_steps(train, samples=20, world=2, step=50, draws=100) == 50 + 25
    assert total_steps(train, samples=20, world=2, step=75, draws=200) == 75, "all passes are done"
    again = TrainConfig(epochs=10, batch_size=1)
    assert total_steps(again, samples=20, world=1, step=60, draws=140) == 60 + 60
    assert total_steps(TrainConfig(max_steps=80), samples=20, world=2, step=50, draws=100) == 80


def test_flow_has_its_own_rate_and_can_be_frozen():
    model = build_model(small_config("/nowhere"))
    optimizer = make_optimizer(model, TrainConfig(flow_lr_scale=0.125))
    set_learning_rate(optimizer, 0.008)
    assert [group["lr"] for group in optimizer.param_groups] == [0.008, 0.001]
    flow = {n for n, _ in model.named_parameters() if is_flow(n)}
    assert {n.split(".")[1] for n in flow} == {"spynet", *(f"stage{i}" for i in range(1, 8))}
    assert len(optimizer.param_groups[1]["params"]) == len(flow)
    freeze_flow(model, True)
    assert {n for n, p in model.named_parameters() if not p.requires_grad} == flow
    freeze_flow(model, False)
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize(
    ("steps", "pretrained", "still"), [(10, None, True), (0, None, False), (10, "weights.pth", False)]
)
def test_flow_is_held_still_where_it_is_frozen_at_a_random_start(steps, pretrained, still):
    config = small_config("/nowhere", f"TRAIN.FREEZE_FLOW_STEPS={steps}")
    model = build_model(config)
    vrt = replace(config.model.vrt, pretrained=pretrained)
    hold_flow_still(model, replace(config, model=replace(config.model, vrt=vrt)))
    freeze_flow(model, bool(steps))
    assert model.vrt.spynet.is_still == still


def test_the_ema_follows_and_steps_aside():
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    ema = WeightEMA(model, decay=0.9)
    expected = 0.0
    for step in range(1, 200):
        nn.init.constant_(model.weight, float(step))
        ema.update(step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    with ema.applied():
        assert model.weight.item() == pytest.approx(expected, rel=1e-5)
    assert model.weight.item() == 199


def test_the_ema_collects_its_lists_once_and_leaves_whole_numbers_alone(monkeypatch):
    model = nn.Linear(2, 2)
    model.register_buffer("index", torch.arange(3))
    ema = WeightEMA(model, decay=0.9)
    monkeypatch.setattr(model, "state_dict", None)
    nn.init.constant_(model.weight, 2.0)
    index = ema.state["index"]
    ema.update(10**9)
    ema.update(10**9)
    assert index._version == 0
    assert not torch.equal(ema.state["weight"], model.weight)


def test_old_numbered_checkpoints_go(tmp_path):
    for step in (9, 10, 200):
        numbered(tmp_path, step).touch()
    (tmp_path / "best.pt").touch()
    drop_old(tmp_path, 2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best.pt", "step_00000010.pt", "step_00000200.pt"]
