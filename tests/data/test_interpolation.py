"""Sub-frames along optical flow: streaks as they would be, held to scenes that are known at every moment."""

import builtins
import json

import numpy as np
import pytest

from bench.streaks import H, W, exact_blur, faded_blur, frames_of, ghosts, psnr, rendered_blur, scene
from spikevrt.cli import run_command
from spikevrt.config.data import RecordingConfig
from spikevrt.data.files.images import read_image, write_png
from spikevrt.data.preparation.make import Target, make_clips
from spikevrt.data.preparation.recipe import Recipe
from spikevrt.data.simulation.camera import SpikeSensor
from spikevrt.data.simulation.interpolation import subframes
from spikevrt.data.simulation.motion import MEASURED_EVERY, Motion, measured
from spikevrt.data.simulation.optical_flow import Tracks, compare_colours, compare_flows
from spikevrt.data.simulation.settings import SpikeCamera
from spikevrt.data.spikes.exposures import exposures_for
from spikevrt.data.spikes.geometry import SpikeGeometry
from spikevrt.data.spikes.recording import SpikeFile
from spikevrt.errors import UserError
from spikevrt.prepare import main as prepare
from spikevrt.simulate import main as simulate

pytest.importorskip("cv2")


@pytest.mark.parametrize(
    ("kind", "flat", "least", "gained"),
    [("edge", True, 42, 6), ("edge", False, 44, 5), ("disc", True, 55, 15), ("disc", False, 44, 4)],
)
def test_what_moves_draws_a_streak(kind, flat, least, gained):
    frames, exact = frames_of(kind, flat), exact_blur(kind, flat)
    assert psnr(rendered_blur(frames), exact) > max(least, psnr(faded_blur(frames), exact) + gained)


def test_who_walks_far_away_is_one_streak():
    frames = frames_of("walker", False)
    assert ghosts("walker", exact_blur("walker", False)) == ghosts("walker", rendered_blur(frames)) == 1
    assert ghosts("walker", faded_blur(frames)) > 2


def test_source_frames_stay_and_what_stands_still_stays():
    frames = [np.rint(scene("disc", False, i)).astype(np.uint8) for i in (0, 1, 1)]
    made = list(subframes(frames, 5))
    assert len(made) == 11
    for i in range(3):
        np.testing.assert_array_equal(made[5 * i], frames[i])
    assert np.abs(np.array(made[6:10]) - np.float64(frames[1])).max() <= 1
    assert [len(list(subframes(frames[:n], 3))) for n in (0, 1, 2)] == [0, 1, 4]
    for x, y in zip(subframes(frames, 1), frames, strict=True):
        np.testing.assert_array_equal(x, y)


def test_a_cut_of_the_scene_is_not_faded():
    first, second = (np.random.default_rng(seed).integers(0, 256, (240, 320, 3), dtype=np.uint8) for seed in (3, 4))
    motion = Motion()
    made = list(subframes([first, second], 4, motion))
    for frame, wanted in zip(made, (first, first, second, second, second), strict=True):
        np.testing.assert_array_equal(frame, wanted)
    assert motion.fastest is None


def test_flow_that_leads_nowhere_is_shown_by_nothing():
    frame = np.zeros((8, 9, 3), np.uint8)
    for value in (np.nan, np.inf, -np.inf, 1e30, 100):
        flow, shown = np.full((8, 9, 2), value, np.float32), np.ones((8, 9), np.uint8)
        compare_flows(flow, flow, shown)
        assert not shown.any()
        compare_colours(frame, frame, flow, np.empty((8, 9), np.float32), shown)
        assert not shown.any()
    motion = Motion()
    motion.add(Tracks([flow, flow], np.stack([shown, shown + 1])))
    assert motion.fastest is None


@pytest.mark.parametrize("size", [(8, 8), (8, 200), (17, 23)])
def test_small_frames(size):
    frames = [np.full((*size, 3), value, np.uint8) for value in (10, 12)]
    made = list(subframes(frames, 2))
    assert made[1].shape == (*size, 3)
    assert 10 <= made[1].min() <= made[1].max() <= 12


@pytest.mark.parametrize("gamma", [1.0, 2.2])
def test_blur_and_spikes_come_from_the_same_sub_frames(tmp_path, gamma):
    camera = SpikeCamera(scale=2, factor=4, gamma=gamma)
    recipe = Recipe(exposure=2, stride=2, camera=camera)
    frames = [np.rint(scene("disc", False, i)).astype(np.uint8) for i in range(8)]
    clip = tmp_path / "clip"
    make_clips(frames, [Target(clip, recipe.centres(0, 8))], recipe, "test")
    notes = json.loads((clip / "clip.json").read_text())
    assert (notes["interpolate"], notes["factor"]) == ("flow", 4)
    assert (notes["exposure"], notes["centres"]) == (2, recipe.centres(0, 8))
    made = list(subframes(frames, 4))
    for number, centre in enumerate(notes["centres"], 1):
        own = [np.float64(made[4 * centre - 4 + j]) for j in range(8)]
        mean = 255 * np.mean([(x / 255) ** gamma for x in own], 0) ** (1 / gamma)
        np.testing.assert_allclose(read_image(clip / "blur" / f"{number:06}.png"), mean, atol=0.51)
        np.testing.assert_array_equal(read_image(clip / "sharp" / f"{number:06}.png"), frames[centre])
        spikes = SpikeFile(clip / "spike" / f"{number:06}.dat", SpikeGeometry(H // 2, W // 2))
        light = np.sum([SpikeSensor(2, gamma)(np.uint8(x)) for x in own], 0)
        # The brightness of a spike frame is that of its start, and half a step of change.
        assert np.abs(spikes.read().sum(0) - light / 255 / camera.theta).max() < 1.2


def test_a_recording_has_the_sub_frames_of_each_frame(tmp_path, capsys):
    frames = [np.rint(scene("disc", True, i)).astype(np.uint8) for i in range(3)]
    for i, frame in enumerate(frames):
        write_png(tmp_path / "frames" / f"f{i}.png", frame)
    with pytest.warns(UserWarning, match=r"is 1\.\d pixels from one sub-frame to the next, .* give --factor 1\d"):
        assert simulate([str(tmp_path / "frames"), "--out", str(tmp_path / "out"), "--factor", "8"]) == 0
    out = capsys.readouterr().out
    assert f"24 spike frames of {H}x{W}; the fastest motion is 1" in out
    rate, expected = (float(v) for v in out.split("rate ")[1].split(", from the brightness "))
    assert rate == pytest.approx(expected, rel=0.01)
    exposures = exposures_for(tmp_path / "out", ["f0", "f1", "f2"], RecordingConfig("continuous"))
    file = SpikeFile(tmp_path / "out" / "recording.dat", SpikeGeometry(H, W), exposures["f1"])
    assert (file.frames, file.exposure(0)) == (24, slice(8, 16))
    light = np.sum([SpikeSensor(1)(x) for x in list(subframes(frames, 8))[8:16]], 0)
    assert np.abs(file.voxels(1)[0] - light / 255 / 2).max() < 1.2


def test_motion_is_measured_now_and_then_where_nothing_is_interpolated():
    frames = [np.rint(scene("disc", False, 0.2 * i)).astype(np.uint8) for i in range(MEASURED_EVERY + 2)]
    motion = Motion()
    assert [x.tobytes() for x in measured(frames, motion)] == [x.tobytes() for x in frames]
    assert motion.fastest == pytest.approx(0.2 * np.hypot(11, 4), rel=0.1)
    found = f"the fastest motion is {motion.fastest:.2g} pixels a frame"
    assert motion.line() == f"; {found}"
    ghosts = f"{found}, so that blur is a row of ghosts: give --interpolate flow --factor 3"
    assert motion.warning(SpikeCamera(interpolate="linear")) == ghosts
    assert motion.warning(SpikeCamera(interpolate="none", factor=1)) == ghosts
    assert motion.warning(SpikeCamera(factor=4)) is None
    assert "give --factor 3" in (motion.warning(SpikeCamera(factor=2)) or "")
    assert (Motion().line(), Motion().warning(SpikeCamera())) == ("", None)


@pytest.mark.parametrize("command", [simulate, lambda arguments: prepare(["video", *arguments])])
def test_without_opencv_one_line_says_what_to_do(tmp_path, monkeypatch, command, capsys):
    for i in range(40):
        write_png(tmp_path / "frames" / f"{i:02}.png", np.full((16, 16, 3), i, np.uint8))
    imported = builtins.__import__

    def without(name, *rest):
        if name == "cv2":
            raise ImportError
        return imported(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    arguments = [str(tmp_path / "frames"), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as ended:
        run_command(lambda _: command(arguments))
    assert ended.value.code == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "--interpolate flow: needs OpenCV (the extra flow): pip install opencv-python-headless" in line
    assert not list(tmp_path.glob("out/**/*.png"))
    assert command([*arguments, "--interpolate", "linear"]) == 0


def test_with_none_nothing_lies_between_source_frames(tmp_path):
    with pytest.raises(UserError, match="--factor 4: must be 1 with --interpolate none"):
        SpikeCamera(interpolate="none", factor=4)
    with pytest.raises(UserError, match="--interpolate cubic: must be flow, linear, none"):
        SpikeCamera(interpolate="cubic")
    for i in range(12):
        write_png(tmp_path / "frames" / f"{i:02}.png", np.full((16, 16, 3), 9 * i, np.uint8))
    assert simulate([str(tmp_path / "frames"), "--out", str(tmp_path / "out"), "--interpolate", "none"]) == 0
    assert SpikeFile(tmp_path / "out" / "recording.dat", SpikeGeometry(16, 16)).frames == 12
