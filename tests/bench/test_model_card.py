"""The model card shows what evaluate wrote and what the pictures hold."""

import json

import numpy as np
import pytest

from bench.results.model_card import model_card, period, pictures_row, psnr
from spikevrt.data.files.images import write_png

SIDE = 16


def scores(blurred, twin, ours):
    def of(values):
        return {"frames": len(values), "psnr": float(np.mean(values)), "ssim": 0.9, "psnr_grey": 30.0}

    methods = {"blurred": blurred, "TFP": ours, "tiny-rgb": twin, "tiny": ours}
    frames = {"clip": {"stems": ["1", "2"], **{name: {"psnr": values} for name, values in methods.items()}}}
    return {"all": {name: of(values) for name, values in methods.items()}, "frames": frames}


@pytest.fixture
def held_out(tmp_path):
    """A clip whose result is 2 grey levels too red, and half as far from the sharp frames as the blurred ones."""
    (tmp_path / "walk.json").write_text(json.dumps(scores([30, 31], [31, 32], [34, 33])))
    random = np.random.default_rng(0)
    sharp = random.integers(50, 200, (4, SIDE, SIDE, 3))
    noise = random.choice([-8, 8], sharp.shape)
    for method, pictures in (
        ("reference", sharp),
        ("blurred", sharp + noise),
        ("tiny", sharp + noise // 2 + np.array([2, 0, 0])),
    ):
        for number, picture in enumerate(pictures):
            write_png(tmp_path / "walk.pictures" / method / "clip" / f"{number}.png", picture.astype(np.uint8))
    return tmp_path


def test_the_card_has_a_row_for_each_clip(held_out):
    card = model_card(held_out, ["walk"], 1234)
    row = next(line for line in card.splitlines() if line.startswith("| walk"))
    assert row == "| walk | 2 | 30.50 | 30.00 | 31.50 | 33.50 | +3.00 | +2.00 | +2.00 | 0.9000 -> 0.9000 |"
    assert "1,234 steps" in card


def test_bias_and_chroma_are_those_of_the_pictures(held_out):
    _, before, after, chroma_before, chroma_after, *_ = pictures_row("walk", held_out / "walk.pictures")
    assert float(after) == pytest.approx(2, abs=0.4)
    assert float(before) < 1
    assert float(chroma_after) > float(chroma_before) + 4


def test_a_correction_that_swings_with_the_window_has_a_period():
    random = np.random.default_rng(0).normal(1, 0.1, 1000)
    swing, chance = period(random)
    assert 0 < swing < 5 * chance < 0.05
    swing, chance = period(random * np.tile([1, 3], 500))
    assert swing == pytest.approx(1, abs=0.02)
    assert period(np.ones(7)) == (0, 0)
    assert psnr(np.full((2, 2), 25.5)) == pytest.approx(20)
