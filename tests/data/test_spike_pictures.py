"""TFI pictures, and pictures of a whole recording in bounded memory."""

import tracemalloc
from contextlib import contextmanager

import numpy as np
import pytest

from spikevrt.data.simulation.camera import SpikeSimulator
from spikevrt.data.spikes.geometry import SpikeGeometry
from spikevrt.data.spikes.methods import TFI, TFP, WINDOWS
from spikevrt.data.spikes.playback import Playback, firing, middle_firing
from spikevrt.data.spikes.recording import SpikeFile, write_packed
from spikevrt.data.spikes.stretch import BLOCK, Stretch, stretches
from spikevrt.data.spikes.tfi import SEARCHED, interval_firing
from spikevrt.data.spikes.tfp import as_picture, mean_firing, white_of

H, W = 3, 5
"""15 pixels do not fill their bytes."""


def rate_by_intervals(times: np.ndarray, first: int, last: int, frames: int) -> float:
    """TFI of a pixel that fires at `times`, in words of NumPy: intervals that touch the window, or the nearest ones."""
    before, behind = times[times <= first], times[times > last]
    begin = before[-1] if len(before) else None
    if begin is None:
        later = times[times > first]
        behind = later[1:][later[1:] > last] if len(later) else behind
        begin = later[0] if len(later) else frames
    end = behind[0] if len(behind) else None
    inside = times[(times > begin) & (times <= (frames if end is None else end))]
    bounds = [1.0]
    if not len(before):
        bounds.append((len(inside) + 1) / ((inside[-1] if len(inside) else begin) + 1))
    if end is None:
        bounds.append((len(inside) + 1) / (frames - begin) if begin < frames else 1)
        if len(before) > 1:
            inside, begin = np.concatenate([[begin], inside]), before[-2]
    return min(*bounds, len(inside) / (inside[-1] - begin)) if len(inside) else 0


@pytest.mark.parametrize("density", [0.02, 0.3, 0.9])
@pytest.mark.parametrize(
    "window", [slice(0, 1), slice(0, 6), slice(20, 21), slice(18, 29), slice(34, 40), slice(0, 40)]
)
def test_intervals_are_those_between_the_spikes(density, window):
    spikes = (np.random.default_rng(3).random((40, H, W)) < density).astype(np.uint8)
    found = interval_firing(Stretch.of(spikes), window)
    for y, x in np.ndindex(H, W):
        wanted = rate_by_intervals(np.flatnonzero(spikes[:, y, x]), window.start, window.stop - 1, 40)
        assert found[y, x] == pytest.approx(wanted, abs=1e-6), (y, x)


def test_a_window_of_one_frame_is_classical_tfi():
    spikes = np.zeros((30, H, W), np.uint8)
    spikes[[4, 20, 25]] = 1
    assert interval_firing(Stretch.of(spikes), slice(10, 11)) == pytest.approx(1 / 16)
    assert interval_firing(Stretch.of(spikes), slice(20, 21)) == pytest.approx(1 / 5)


@pytest.mark.parametrize("theta", [1.0, 2.0, 8.0])
def test_a_still_scene_is_right_in_bright_and_dim_light(theta):
    """Bright: intervals are of 1 and 2 frames, of which classical TFI makes noise of few greys."""
    light = np.linspace(20, 250, 256).reshape(16, 16)
    spikes = Stretch.of(SpikeSimulator(16, 16, theta).run(np.repeat(light[None], 300, 0)))
    wanted = light / 255 / theta
    window = slice(150, 150 + WINDOWS[TFI])
    error = np.abs(interval_firing(spikes, window) - wanted).max()
    assert error < 0.09 / theta
    if theta == 1:
        classical = interval_firing(spikes, slice(150, 151))
        assert np.abs(classical - wanted).max() > 4 * error


def written(tmp_path, spikes, kind="dat"):
    path = tmp_path / f"a.{kind}"
    if kind == "dat":
        write_packed(path, spikes, flip=False)
    else:
        np.savez_compressed(path, spk=spikes)
    return SpikeFile(path, SpikeGeometry(*spikes.shape[1:], flip=False))


@pytest.mark.parametrize("kind", ["dat", "npz"])
def test_every_frame_is_read_once_and_in_small_parts(tmp_path, monkeypatch, kind):
    spikes = np.random.default_rng(0).integers(0, 2, (400, 4, 8), dtype=np.uint8)
    file, parts = written(tmp_path, spikes, kind), []
    opened = file.reader

    @contextmanager
    def watched():
        with opened() as read:
            yield lambda frames: parts.append(frames) or read(frames)

    monkeypatch.setattr(file, "reader", watched)
    spans = [slice(0, 150), slice(100, 160), slice(160, 161), slice(300, 400), slice(350, 400)]
    for span, stretch in zip(spans, stretches(file, spans), strict=True):
        np.testing.assert_array_equal(mean_firing(stretch), spikes[span].mean(0, dtype=np.float32))
        assert (len(stretch), stretch.first) == (span.stop - span.start, span.start)
    read = [t for part in parts for t in range(part.start, part.stop)]
    assert read == [*range(161), *range(300, 400)]
    assert max(part.stop - part.start for part in parts) <= BLOCK


@pytest.mark.parametrize("method", [TFP, TFI])
def test_memory_does_not_grow_with_the_recording(tmp_path, method):
    size, peaks = (32, 32), []
    block = np.random.default_rng(0).integers(0, 256, (1000, 32 * 32 // 8), dtype=np.uint8).tobytes()
    for thousands in (1, 8):
        path = tmp_path / f"{thousands}.dat"
        path.write_bytes(block * thousands)
        file = SpikeFile(path, SpikeGeometry(*size))
        windows = (slice(t, t + 41) for t in range(0, file.frames - 41, 97))
        tracemalloc.start()
        for _ in firing(file, method, windows):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0] < 1.1 * 4 * size[0] * size[1] * (41 + 2 * SEARCHED)


def test_pictures_follow_each_other_over_several_recordings(tmp_path):
    spikes = np.random.default_rng(1).integers(0, 2, (30, 4, 8), dtype=np.uint8)
    files = []
    for name, part in {"1": spikes[:20], "2": spikes[20:]}.items():
        (tmp_path / name).mkdir()
        files.append(written(tmp_path / name, part))
    playback = Playback(tuple(files), TFP, window=12, step=4)
    made = list(playback.pictures())
    assert len(playback) == len(made) == 4
    assert [middle for middle, _ in made] == [6, 10, 14, 25]
    windows = [slice(0, 12), slice(4, 16), slice(8, 20), slice(20, 30)]
    for (_, rates), window in zip(made, windows, strict=True):
        np.testing.assert_allclose(rates, spikes[window].mean(0), atol=1e-6)
    assert playback.white() == pytest.approx(max(white_of(rates) for _, rates in made))


def test_white_is_never_nothing(tmp_path):
    dark = written(tmp_path, np.zeros((50, 4, 8), np.uint8))
    for method in WINDOWS:
        rates = middle_firing(dark, method)
        assert not as_picture(rates, white_of(rates)).any()
        assert Playback((dark,), method, 10, 10).white() == 1


@pytest.mark.parametrize(("name", "least"), [("sreds_200_part1", 33), ("sreds_203_part2", 28)])
def test_tfi_of_recordings_is_near_the_sharp_frame(real_data_dir, name, least):
    from spikevrt.data.files.images import read_image, to_grey

    file = SpikeFile(real_data_dir / f"{name}_250x400.dat", SpikeGeometry(250, 400))
    rates, truth = middle_firing(file, TFI), to_grey(read_image(real_data_dir / f"{name}_gt.png")) / 255
    scale = (rates * truth).sum() / (rates * rates).sum()
    assert -10 * np.log10(np.square(scale * rates - truth).mean()) > least
