"""TFP pictures."""

import numpy as np
import pytest
import torch

from spikevrt.data.clips.clip import white_rate
from spikevrt.data.simulation.camera import SpikeSimulator
from spikevrt.data.spikes.stretch import Stretch
from spikevrt.data.spikes.tfp import brightness, default_span, enlarged, grey, mean_firing, middle_span
from spikevrt.errors import UserError


@pytest.mark.parametrize("theta", [1.0, 2.0])
def test_brightness_comes_back(theta):
    light = np.linspace(0, 255, 48).reshape(6, 8)
    spikes = SpikeSimulator(6, 8, theta).run(np.repeat(light[None], 400, 0))
    picture = brightness(mean_firing(Stretch.of(spikes[middle_span(400, default_span(400))])), 1 / theta)
    assert picture.shape == (6, 8)
    np.testing.assert_allclose(picture, light / 255, atol=theta / 200)


@pytest.mark.parametrize("frames", [1, 2, 7, 40, 56, 88, 97])
def test_the_span_is_the_middle_half(frames):
    span = middle_span(frames, default_span(frames))
    assert 0 <= span.start < span.stop <= frames
    assert span.start <= frames // 2 < span.stop
    assert span.stop - span.start == pytest.approx(frames / 2, abs=1)
    assert abs((span.start + span.stop - 1) / 2 - frames // 2) <= 0.5


@pytest.mark.parametrize("span", [-1, 9])
def test_a_span_longer_than_the_exposure_is_refused(span):
    with pytest.raises(UserError, match="must be between 1 and the 8 spike frames"):
        middle_span(8, span)


def test_the_rate_of_white_is_the_clips_or_usual(tree, tmp_path):
    assert white_rate(tree / "val" / "held") == 0.5
    assert white_rate(tmp_path) == 0.6
    (tmp_path / "clip.json").write_text("broken")
    assert white_rate(tmp_path) == 0.6


def test_grey_and_size():
    rgb = torch.zeros(2, 3, 4, 6)
    rgb[:, 0] = 1
    assert torch.allclose(grey(rgb), torch.tensor(0.3))
    assert grey(rgb).shape == (2, 1, 4, 6)
    ramp = torch.arange(4.0).view(1, 1, 4)
    assert enlarged(ramp, (2, 8))[0, 0].tolist() == [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]
