"""The integrate-and-fire camera."""

import numpy as np
import pytest

from spikevrt.config import DataConfig, RecordingConfig
from spikevrt.data.files.images import to_grey, write_png
from spikevrt.data.simulation.camera import (
    NOISE_INTERVAL,
    SpikeCamera,
    SpikeSensor,
    SpikeSimulator,
    area_downsample,
    simulated,
)
from spikevrt.data.spikes.exposures import exposures_for
from spikevrt.data.spikes.geometry import SpikeGeometry, geometry_for
from spikevrt.data.spikes.recording import SpikeFile
from spikevrt.errors import UserError
from spikevrt.simulate import main as simulate
from tests.small_data import moving_frames


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
    with pytest.raises(UserError, match=r"--theta 0\.5: must be at least 1"):
        SpikeSimulator(4, 4, theta=0.5)


def test_grey_and_half_resolution():
    rgb = np.zeros((4, 6, 3), np.uint8)
    rgb[..., 1] = 100
    np.testing.assert_allclose(to_grey(rgb), 59, rtol=1e-6)
    image = np.arange(24, dtype=np.float32).reshape(4, 6)
    np.testing.assert_allclose(area_downsample(image, 2)[0, 0], (0 + 1 + 6 + 7) / 4)
    assert area_downsample(image, 2).shape == (2, 3)


@pytest.mark.parametrize("noise", [False, True], ids=["clean", "noise"])
@pytest.mark.parametrize("flip", [False, True])
def test_steps_between_frames_are_packed_as_stored(flip, noise):
    first, last = np.random.default_rng(0).uniform(0, 255, (2, 8, 13)).astype(np.float32)
    steps = np.stack([first + (last - first) * np.float32(s / 6) for s in range(6)])
    wanted = SpikeSimulator(8, 13, seed=2, noise=noise).run(steps)
    packed = SpikeSimulator(8, 13, seed=2, noise=noise).run_between(first, last, 6, flip)
    bits = np.unpackbits(packed, axis=1, bitorder="little").reshape(6, 8, 13)
    # The sums are rounded in another order: a spike in many may come a step sooner or later.
    assert ((bits[:, ::-1] if flip else bits) != wanted).mean() < 0.01
    with pytest.raises(UserError, match="15 bits are not whole bytes"):
        SpikeSimulator(3, 5).run_between(np.zeros((3, 5)), np.zeros((3, 5)), 1)


@pytest.mark.parametrize("gamma", [1.0, 2.2])
@pytest.mark.parametrize("scale", [1, 2, 3])
def test_the_sensor_averages_light_over_its_pixels(gamma, scale):
    frame = np.random.default_rng(0).integers(0, 256, (12, 18, 3), dtype=np.uint8)
    light = 255 * (frame / 255.0) ** gamma
    np.testing.assert_allclose(SpikeSensor(scale, gamma)(frame), area_downsample(to_grey(light), scale), rtol=1e-5)


def test_spikes_lie_between_frames_of_one_size():
    frames = list(moving_frames(3))
    shots = list(simulated(frames, SpikeCamera(scale=2, factor=5, seed=4)))
    assert [shot.spikes.shape for shot in shots] == [(0, 96), (5, 96), (5, 96)]
    simulator = SpikeSimulator(24, 32, seed=4)
    np.testing.assert_array_equal(simulator.run_between(shots[0].light, shots[1].light, 5), shots[1].spikes)
    np.testing.assert_array_equal(simulator.run_between(shots[1].light, shots[2].light, 5), shots[2].spikes)
    with pytest.raises(UserError, match=r"frame 3 is \(40, 64\), the first one \(48, 64\): one size is needed"):
        list(simulated([*frames, frames[0][:40]], SpikeCamera()))


def test_the_command_writes_a_recording_that_the_reader_reads(tmp_path, capsys):
    frames = list(moving_frames(9))
    for i, frame in enumerate(frames):
        write_png(tmp_path / "frames" / f"f{i}.png", frame)
    out = tmp_path / "spikes"
    arguments = [str(tmp_path / "frames"), "--scale", "2", "--factor", "20", "--seed", "3", "--interpolate", "linear"]
    assert simulate([*arguments, "--out", str(out)]) == 0
    rate, expected = (float(v) for v in capsys.readouterr().out.split("rate ")[1].split(", from the brightness "))
    assert rate == pytest.approx(expected, rel=0.01)
    geometry = geometry_for(out, DataConfig())
    assert geometry == SpikeGeometry(24, 32)
    exposures = exposures_for(out, [f"f{i}" for i in range(9)], RecordingConfig("continuous"))
    file = SpikeFile(out / "recording.dat", geometry, exposures["f5"])
    assert (file.frames, file.exposure(0)) == (9 * 20, slice(100, 120))
    light = SpikeSensor(2)(frames[5]) * (21 / 40) + SpikeSensor(2)(frames[6]) * (19 / 40)
    assert np.abs(file.voxels(1)[0] - light / 255 / 2 * 20).max() < 1.5
    assert simulate([*arguments, "--out", str(tmp_path / "again"), "--no-flip"]) == 0
    upright = SpikeFile(tmp_path / "again" / "recording.dat", SpikeGeometry(24, 32, flip=False)).read()
    np.testing.assert_array_equal(upright, SpikeFile(out / "recording.dat", geometry).read())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--theta", "0.5"], "--theta 0.5: must be at least 1"),
        (["--scale", "0"], "--scale 0: must be at least 1"),
        (["--scale", "9"], "frames of 8x8 hold no spike pixel of 9x9; choose a smaller scale"),
        (["--seed", "-1"], "--seed -1"),
        ([], "fewer than two frames"),
    ],
)
def test_simulations_that_cannot_be_are_named(tmp_path, arguments, message):
    write_png(tmp_path / "frames" / "0.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(UserError, match=message):
        simulate([str(tmp_path / "frames"), "--out", str(tmp_path / "out"), *arguments])
    assert [p.name for p in tmp_path.iterdir()] == ["frames"]
