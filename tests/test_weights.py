"""The weights that come with the package."""

import shutil

import numpy as np
import pytest

from spikevrt import Restorer
from spikevrt.data.files.images import picture_files, read_image
from spikevrt.data.spikes.geometry import SpikeGeometry
from spikevrt.data.spikes.recording import SpikeFile
from spikevrt.deblur import main as deblur
from spikevrt.models.weights.files import read_state
from spikevrt.models.weights.origin import described_file, stored_config
from spikevrt.prepare import main as prepare
from spikevrt.restoration.named import named_checkpoints
from spikevrt.weights import FOLDER, SHIPPED, SUFFIX, TINY, TINY_RGB, weights_file

MEGABYTES = 8
"""All of them together."""
SHOWN = 4
"""Frames of a clip that are restored here."""


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A photo that training never saw, moved."""
    root = tmp_path_factory.mktemp("photo")
    assert prepare(["photos", "chelsea", "--split", "val", "--out", str(root), "--seed", "7"]) == 0
    return root / "val" / "photo-chelsea"


def frames(folder):
    return np.array([read_image(file) for file in picture_files(folder)[:SHOWN]])


def spikes(clip):
    geometry = SpikeGeometry(80, 80)
    return [SpikeFile(file, geometry).read() for file in sorted((clip / "spike").glob("*.dat"))[:SHOWN]]


def psnr(a, b):
    return 10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2, axis=(1, 2, 3)))


@pytest.mark.parametrize("name", SHIPPED)
def test_they_say_what_they_are_and_hold_no_place_of_a_file(name):
    state = read_state(name)
    config = stored_config(state, name)
    assert config.model.use_spike == (name == TINY)
    assert (config.data.root, config.train.output_dir, config.train.max_steps) == (None, "runs", None)
    about = described_file(name if name == TINY else FOLDER / f"{name}{SUFFIX}")
    assert about["step"] == state["step"] > 1000
    assert f"`{name}`" in (FOLDER / "README.md").read_text("utf-8")


def test_they_are_small():
    files = [weights_file(name) for name in SHIPPED]
    assert all(file.parent == FOLDER for file in files)
    assert sum(file.stat().st_size for file in files) <= MEGABYTES * 1e6


def test_spikes_bring_what_the_model_card_says(clip):
    """Less than there, because frames and motion are others: it is not below the twin nor the blurred frame by far."""
    blurred, sharp, seen = frames(clip / "blur"), frames(clip / "sharp"), spikes(clip)
    ours = Restorer.from_pretrained(TINY)(blurred, seen)
    twin = Restorer.from_pretrained(TINY_RGB)(blurred)
    assert (psnr(ours, sharp) - psnr(blurred, sharp)).mean() > 3
    assert (psnr(ours, sharp) - psnr(twin, sharp)).mean() > 1.5
    bias = np.abs((ours.astype(float) - sharp).mean((0, 1, 2))).max()
    assert bias < 0.5


def test_where_frames_hardly_move_they_are_not_harmed(tmp_path):
    how = "--speed", "0.01", "--shake", "0", "--rotation", "0.2", "--zoom", "0.002", "--seed", "3"
    assert prepare(["photos", "chelsea", "--split", "val", "--out", str(tmp_path), *how]) == 0
    clip = tmp_path / "val" / "photo-chelsea"
    blurred, sharp = frames(clip / "blur"), frames(clip / "sharp")
    before = psnr(blurred, sharp)
    assert before.min() > 40
    assert (psnr(Restorer.from_pretrained(TINY)(blurred, spikes(clip)), sharp) - before).mean() > -0.05


def test_a_picture_that_stands_still_is_left_alone(clip):
    """Its blurred frame is sharp already, so that every change is a loss."""
    still = np.stack([frames(clip / "sharp")[0]] * 2)
    light = still[0].reshape(80, 2, 80, 2, 3).mean((1, 3)) @ np.array([0.3, 0.59, 0.11]) / 255
    charge = np.random.default_rng(0).uniform(0, 2, light.shape)
    count = np.floor((np.arange(1, 81)[:, None, None] * light + charge) / 2)
    fired = np.diff(count, axis=0, prepend=np.floor(charge / 2)[None]).astype(np.uint8)
    ours = Restorer.from_pretrained(TINY)(still, [fired[:40], fired[40:]])
    assert psnr(ours, still).min() > 50


def test_a_name_stands_for_weights_unless_a_file_is_called_so(clip, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / TINY_RGB).mkdir()  # A folder is no file of weights.
    assert deblur([str(clip), "--weights", TINY_RGB, "--out", "sharp", "--end", "2"]) == 0
    assert len(list((tmp_path / "sharp").iterdir())) == 2
    assert weights_file(TINY).parent == FOLDER
    shutil.copy(FOLDER / f"{TINY_RGB}{SUFFIX}", tmp_path / TINY)
    assert weights_file(TINY).resolve() == (tmp_path / TINY).resolve()
    assert not stored_config(read_state(TINY), TINY).model.use_spike


def test_several_are_called_by_their_names():
    assert list(named_checkpoints([TINY, TINY_RGB, "runs/a/last.pt"])) == [TINY, TINY_RGB, "a"]
    assert list(named_checkpoints([TINY])) == ["restored"]
