"""Real recordings: rates and pictures that only the correct reading gives."""

import numpy as np
import pytest
from PIL import Image

from spikevrt.data.spikes.geometry import SpikeGeometry
from spikevrt.data.spikes.recording import SpikeFile

RECORDINGS = [("sreds_200_part1", 0.287669, 0.981), ("sreds_203_part2", 0.208054, 0.975)]
MIDDLE = slice(140, 162)


def correlation(a, b) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


@pytest.mark.parametrize(("name", "rate", "similarity"), RECORDINGS)
def test_rate_and_picture(real_data_dir, name, rate, similarity):
    file = SpikeFile(real_data_dir / f"{name}_250x400.dat", SpikeGeometry(250, 400))
    frames = file.read()
    assert frames.shape == (301, 250, 400)
    assert frames.mean() == pytest.approx(rate, abs=1e-6)
    truth = np.asarray(Image.open(real_data_dir / f"{name}_gt.png").convert("L"), np.float64)
    assert correlation(frames[MIDDLE].mean(0), truth) == pytest.approx(similarity, abs=1e-3)
    assert correlation(frames[MIDDLE, ::-1].mean(0), truth) < 0.5


def test_one_byte_a_pixel(real_data_dir, tmp_path):
    spikes = np.load(real_data_dir / "uhsr_lowlight_250x250.npz")["spk"]
    path = tmp_path / "real.dat"
    path.write_bytes(spikes.astype(np.uint8).tobytes())
    file = SpikeFile(path, SpikeGeometry(250, 250, "uint8", flip=False))
    assert file.frames == 200
    assert file.read().mean() == pytest.approx(0.0314, abs=5e-5)
    assert file.voxels(10).sum() == spikes.sum()
