"""Unknown recordings, real and simulated: the right geometry is ranked first."""

from shlex import split

import numpy as np
import pytest
from PIL import Image

from spikevrt.data.files.images import write_png
from spikevrt.data.identification.ranking import rank
from spikevrt.data.identification.views import spikes_per_frame
from spikevrt.data.simulation.camera import SpikeSimulator
from spikevrt.data.spikes.geometry import SpikeGeometry
from spikevrt.data.spikes.recording import SpikeFile, write_packed
from spikevrt.errors import UserError
from spikevrt.identify import main as identify
from spikevrt.playback import main as playback

H, W, N = 96, 128, 40


@pytest.fixture
def scene():
    """Smooth and without symmetry."""
    y, x = np.mgrid[0:H, 0:W] / 16.0
    return (128 + 60 * np.sin(x + 0.3 * y * y) + 50 * np.cos(y * 1.7 - x * 0.4)).astype(np.uint8)


@pytest.fixture
def recording(tmp_path, scene):
    path = tmp_path / "unknown.dat"
    write_packed(path, SpikeSimulator(H, W, 2.0, 1).run(np.repeat(scene[None], N, 0)))
    write_png(tmp_path / "scene.png", np.asarray(Image.fromarray(scene).resize((2 * W, 2 * H))))
    return path


@pytest.mark.parametrize("name", ["sreds_200_part1_250x400.dat", "sreds_203_part2_250x400.dat"])
def test_real_recordings_rank_first(real_data_dir, tmp_path, capsys, name):
    path = real_data_dir / name
    best, second = rank(path)[:2]
    assert str(best.geometry) == "250x400 packed"
    assert best.score > second.score + 0.2
    truth = real_data_dir / name.replace("_250x400.dat", "_gt.png")
    assert identify([str(path), "--picture", str(truth), "--out", str(tmp_path / "a.png")]) == 0
    assert "flip: true" in capsys.readouterr().out


def test_real_bytes_rank_first_with_and_without_their_header(real_data_dir, tmp_path):
    archive = real_data_dir / "uhsr_lowlight_250x250.npz"
    assert str(rank(archive)[0].geometry) == "250x250 uint8"
    path = tmp_path / "a.dat"
    np.load(archive)["spk"].astype(np.uint8).tofile(path)
    best, second = rank(path)[:2]
    assert str(best.geometry) == "250x250 uint8"
    assert best.score > second.score + 0.2


def test_a_recording_is_described(recording, tmp_path, capsys):
    out = tmp_path / "what.png"
    assert identify([str(recording), "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[2].split()[:2] == ["96x128", "packed"]
    assert "flip: unknown" in text
    rate = SpikeFile(recording, SpikeGeometry(H, W)).read().mean()
    assert f"firing rate {rate:.6f}" in text
    picture = np.asarray(Image.open(out).convert("RGB"))
    assert picture.shape[0] > H
    assert len(np.unique(picture)) > 50


@pytest.mark.parametrize("flip", [True, False])
def test_a_picture_tells_the_flip(recording, tmp_path, capsys, flip):
    frames = SpikeFile(recording, SpikeGeometry(H, W)).read()
    write_packed(recording, frames, flip)
    picture = str(tmp_path / "scene.png")
    assert identify([str(recording), "--picture", picture, "--out", str(tmp_path / "a.png")]) == 0
    text = capsys.readouterr().out
    assert f"flip: {str(flip).lower()};" in text
    assert f"DATA.SPIKE_FLIP={str(flip).lower()}" in text


def test_another_scene_tells_no_flip(recording, tmp_path, capsys):
    write_png(tmp_path / "noise.png", np.random.default_rng(0).integers(0, 255, (H, W), dtype=np.uint8))
    identify([str(recording), "--picture", str(tmp_path / "noise.png"), "--out", str(tmp_path / "a.png")])
    text = capsys.readouterr().out
    assert "flip: unknown" in text
    assert "another scene" in text


def test_noise_is_not_called_a_picture(tmp_path, capsys):
    path = tmp_path / "noise.dat"
    path.write_bytes(np.random.default_rng(0).bytes(64 * 64 * 32 // 8))
    identify([str(path), "--out", str(tmp_path / "a.png")])
    assert "not sure" in capsys.readouterr().out


def test_counts_are_those_of_the_frames(recording):
    geometry = SpikeGeometry(H, W)
    counts = SpikeFile(recording, geometry).read().sum((1, 2))
    np.testing.assert_array_equal(spikes_per_frame(recording, geometry, N), counts)


def test_scores_are_explained_and_the_way_to_play_the_recording_is_told(recording, tmp_path, capsys):
    identify([str(recording), "--out", str(tmp_path / "a.png")])
    lines = capsys.readouterr().out.splitlines()
    assert "score: 1 = the frames show one smooth picture, 0 = noise" in "\n".join(lines)
    assert any(line.startswith("sure: 96x128 packed is a picture, and 0.") for line in lines)
    play, command = lines[-1].split(": ")
    assert play == "play it with"
    _python, _m, _module, *arguments = split(command)
    assert playback([*arguments[:2], str(tmp_path / "pictures"), *arguments[3:]]) == 0
    assert len(list((tmp_path / "pictures").iterdir())) == 1


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        (None, [], "no such spike file"),
        (b"", [], "0 bytes"),
        (bytes(12289), [], "no geometry divides its 12289 bytes"),
        (bytes(12288), ["--height", "7"], "no geometry with 7 x any"),
        (bytes(12288), ["--height", "0"], "--height 0: must be at least 1"),
        (bytes(12288), ["--out", "a.jpg"], r"--out a\.jpg: must be a \.png"),
        (bytes([255]) * 12288, ["--format", "uint8"], "looks bit-packed, leave --format out"),
    ],
)
def test_files_that_are_none_are_named(tmp_path, monkeypatch, content, arguments, message):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.dat"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        identify([str(path), *arguments])
