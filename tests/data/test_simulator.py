"""The integrate-and-fire camera."""

import numpy as np
import pytest

from spikevrt.data.simulator import NOISE_INTERVAL, SpikeSimulator, area_downsample, to_grey


@pytest.mark.parametrize("theta", [1.0, 2.0, 5.0])
def test_the_rate_is_the_brightness_over_theta(theta):
    brightness = np.linspace(0, 255, 64, dtype=np.float32).reshape(1, 1, 64)
    n = 1000
    spikes = SpikeSimulator(1, 64, theta, seed=3).run(np.repeat(brightness, n, 0))
    # Charge is conserved: a count is off by at most one from what was integrated.
    np.testing.assert_allclose(spikes.sum(0), n * brightness[0] / 255 / theta, atol=1.01)


def test_one_step_at_a_time_is_the_same_as_many_at_once():
    light = np.random.default_rng(0).uniform(0, 255, (30, 5, 7))
    whole = SpikeSimulator(5, 7, seed=1, noise=True).run(light)
    steps = SpikeSimulator(5, 7, seed=1, noise=True)
    np.testing.assert_array_equal(np.concatenate([steps.run(frame[None]) for frame in light]), whole)


def test_phases_are_random_and_seeded():
    light = np.full((40, 8, 8), 100.0)
    first = SpikeSimulator(8, 8, seed=0).run(light)
    np.testing.assert_array_equal(first, SpikeSimulator(8, 8, seed=0).run(light))
    assert (first != SpikeSimulator(8, 8, seed=1).run(light)).any()
    assert len(np.unique(first[:10].argmax(0))) > 3


def test_noise_fires_in_the_dark_at_its_interval():
    spikes = SpikeSimulator(40, 40, noise=True).run(np.zeros((1400, 40, 40)))
    assert spikes.mean() == pytest.approx(1 / NOISE_INTERVAL, rel=0.05)


def test_theta_below_one_is_refused():
    with pytest.raises(ValueError, match=r"theta = 0\.5: must be at least 1"):
        SpikeSimulator(4, 4, theta=0.5)


def test_grey_and_half_resolution():
    rgb = np.zeros((4, 6, 3), np.uint8)
    rgb[..., 1] = 100
    np.testing.assert_allclose(to_grey(rgb), 59, rtol=1e-6)
    image = np.arange(24, dtype=np.float32).reshape(4, 6)
    np.testing.assert_allclose(area_downsample(image, 2)[0, 0], (0 + 1 + 6 + 7) / 4)
    assert area_downsample(image, 2).shape == (2, 3)
