"""Making a data set from sharp video: exposures, spikes, splits."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spikevrt.data.files.images import read_image, write_png
from spikevrt.data.files.stems import name_of
from spikevrt.data.files.video_writing import video_writer
from spikevrt.data.preparation.make import Target, make_clips, split_by_clip, split_by_time
from spikevrt.data.preparation.recipe import Recipe, subframe
from spikevrt.data.simulation.camera import SpikeCamera
from spikevrt.data.spikes.geometry import SpikeGeometry
from spikevrt.data.spikes.recording import SpikeFile
from spikevrt.errors import UserError
from spikevrt.prepare import JOBS
from spikevrt.prepare import main as prepare
from tests.small_data import FRAMES, RECIPE, SIZE, moving_frames


def made(folder, recipe=RECIPE, frames=None):
    make_clips(frames or moving_frames(), [Target(folder, recipe.centres(0, FRAMES))], recipe, "test")
    return folder


@pytest.mark.parametrize("gamma", [1.0, 2.2, 1.5])
def test_a_blurred_frame_is_the_mean_of_its_exposure(tmp_path, gamma):
    recipe = replace(RECIPE, camera=replace(RECIPE.camera, gamma=gamma))
    clip = made(tmp_path / "clip", recipe)
    sharp = [f.astype(np.float64) for f in moving_frames()]
    centre = json.loads((clip / "clip.json").read_text())["centres"][2]
    times = [centre - 1 + j / 4 for j in range(8)]
    subframes = [sharp[int(t)] * (1 - t % 1) + (sharp[int(t) + 1] * (t % 1) if t % 1 else 0) for t in times]
    mean = 255 * np.mean([(f / 255) ** gamma for f in subframes], 0) ** (1 / gamma)
    np.testing.assert_allclose(read_image(clip / "blur" / "000003.png"), mean, atol=0.51)
    np.testing.assert_array_equal(read_image(clip / "sharp" / "000003.png"), sharp[centre])


def test_noise_of_blurred_frames_has_its_strength_and_leaves_the_rest_alone(tmp_path):
    clean, noisy, again = (
        made(tmp_path / name, replace(RECIPE, frame_noise=sigma))
        for name, sigma in (("clean", 0.0), ("noisy", 4.0), ("again", 4.0))
    )

    def frames(clip, folder):
        return np.array([read_image(file).astype(float) for file in sorted((clip / folder).glob("*.png"))])

    noise = frames(noisy, "blur") - frames(clean, "blur")
    inside = (frames(clean, "blur") > 30) & (frames(clean, "blur") < 225)
    assert inside.mean() > 0.3
    assert noise[inside].std() == pytest.approx(4, rel=0.03)
    assert abs(noise[inside].mean()) < 0.05
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.05
    np.testing.assert_array_equal(frames(noisy, "blur"), frames(again, "blur"))
    np.testing.assert_array_equal(frames(noisy, "sharp"), frames(clean, "sharp"))
    for name in ("000001.dat", "000002.dat"):
        assert (noisy / "spike" / name).read_bytes() == (clean / "spike" / name).read_bytes()


def test_spikes_count_the_light_of_the_exposure(tmp_path):
    clip = made(tmp_path / "clip")
    blurred = read_image(clip / "blur" / "000002.png") @ np.array([0.3, 0.59, 0.11])
    small = blurred.reshape(24, 2, 32, 2).mean((1, 3))
    spikes = SpikeFile(clip / "spike" / "000002.dat", SpikeGeometry(24, 32))
    assert spikes.frames == RECIPE.subframes
    # Charge is carried, so a count differs by less than two from light / theta.
    assert np.abs(spikes.read().sum(0) - small / 255 / RECIPE.camera.theta * RECIPE.subframes).max() < 1.01


def test_a_clip_says_how_it_was_made(tmp_path):
    assert json.loads((made(tmp_path / "clip") / "clip.json").read_text()) == {
        "source": "test",
        "centres": RECIPE.centres(0, FRAMES),
        "factor": 4,
        "interpolate": "linear",
        "exposure": 2,
        "stride": 2,
        "theta": 2.0,
        "spike_scale": 2,
        "gamma": 1.0,
        "frame_noise": 0.0,
        "noise": False,
        "seed": 0,
        "light": "gamma",
    }


def test_interpolation_ends_at_the_last_frame():
    frames = {i: np.full((1, 1, 3), v, np.uint8) for i, v in enumerate((0, 8, 4))}
    values = [float(subframe(frames, j, 4)[0, 0, 0]) for j in range(9)]
    assert values == [0, 2, 4, 6, 8, 7, 6, 5, 4]


@pytest.mark.parametrize("factor", [1, 3, 8])
@pytest.mark.parametrize("exposure", [1, 4, 5])
@pytest.mark.parametrize("stride", [1, 3])
def test_no_exposure_touches_both_splits(tmp_path, factor, exposure, stride):
    recipe = Recipe(exposure=exposure, stride=stride, camera=SpikeCamera(scale=2, factor=factor))
    train, val = split_by_time(tmp_path, "clip", 50, recipe, 0.7, 0.2, ("train", "val"))
    reached = [max(recipe.sources(c)[1] for c in train.centres), min(recipe.sources(c)[0] for c in val.centres)]
    assert reached[0] < 35
    assert reached[1] >= 40
    assert max(recipe.sources(c)[1] for c in val.centres) < 50
    assert train.folder == tmp_path / "train" / "clip"


def test_clips_are_split_by_name():
    names = [f"c{i}" for i in range(10)]
    held = split_by_clip(names, 0.2, 0)
    assert len(held) == 2
    assert held == split_by_clip(names, 0.2, 0)
    with pytest.raises(UserError, match="at least two sources"):
        split_by_clip(["one"], 0.2, 0)
    assert len(split_by_clip(names, 0.99, 0)) == 9
    for share in (0, 1, 1.5, float("nan")):
        with pytest.raises(UserError, match="must lie between 0 and 1"):
            split_by_clip(names, share, 0)


def test_a_stretch_of_a_video_is_prepared_as_if_it_were_all(tmp_path):
    frames = list(moving_frames(30, (48, 64)))
    for folder, some in (("all", frames), ("stretch", frames[9:24])):
        for i, frame in enumerate(some):
            write_png(tmp_path / folder / "walk" / f"{i:03}.png", frame)
    usual = ["--interpolate", "linear", "--train", "0.5", "--val", "0.5"]
    for folder, part in (("all", ["--start", "10", "--end", "24"]), ("stretch", [])):
        out = tmp_path / f"{folder}-out"
        assert prepare(["video", str(tmp_path / folder / "walk"), "--out", str(out), *usual, *part]) == 0
    made, wanted = (
        {file.relative_to(root): file.read_bytes() for file in sorted(root.rglob("*")) if file.is_file()}
        for root in (tmp_path / "all-out", tmp_path / "stretch-out")
    )
    assert made == wanted
    assert len(made) == 10  # Two clips of one exposure each.
    for part, message in (
        (["--start", "31"], "--start 31: the clip has 30 frames"),
        (["--end", "2", "--start", "3"], "--end 2: lies before --start 3"),
    ):
        with pytest.raises(UserError, match=message):
            prepare(["video", str(tmp_path / "all" / "walk"), "--out", str(tmp_path / "none"), *usual, *part])


def test_a_video_becomes_a_tree_that_is_whole(tmp_path, capsys):
    video = tmp_path / "street.mp4"
    with video_writer(video, 24) as write:
        for frame in moving_frames(30, (50, 70)):
            write(frame)
    out = tmp_path / "data"
    assert prepare(["video", str(video), "--out", str(out), "--factor", "2", "--exposure", "3", "--stride", "2"]) == 0
    assert read_image(out / "val" / "street" / "blur" / "000001.png").shape == (*SIZE, 3)
    options = ["--opts", "DATA.CLIP_LEN=2", "TEST.CLIP_OVERLAP=1"]
    assert prepare(["check", str(out), *options]) == 0
    assert "nothing wrong" in capsys.readouterr().out
    (out / "train" / "street" / "spike" / "000002.dat").write_bytes(b"cut")
    assert prepare(["check", str(out), *options]) == 2
    assert "000002.dat: 3 bytes" in capsys.readouterr().out


def test_folders_are_split_by_clip(tmp_path):
    for name in ("a", "b"):
        for i, frame in enumerate(moving_frames(8)):
            write_png(tmp_path / name / f"{i}.png", frame)
    sources = [str(tmp_path / name) for name in ("a", "b")]
    out = tmp_path / "data"
    options = ["--split-by", "clip", "--factor", "1", "--exposure", "3"]
    assert prepare(["video", *sources, "--out", str(out), *options]) == 0
    assert len(list((out / "train").iterdir())) == len(list((out / "val").iterdir())) == 1


def test_a_failure_leaves_nothing_half_written(tmp_path):
    def broken():
        yield from moving_frames(9)
        yield np.zeros((10, 10, 3), np.uint8)

    with pytest.raises(UserError, match="one size is needed"):
        made(tmp_path / "train" / "clip", frames=broken())
    assert list((tmp_path / "train").iterdir()) == []
    made(tmp_path / "train" / "clip")
    with pytest.raises(UserError, match="exists already"):
        made(tmp_path / "train" / "clip")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], r"required: COMMAND \(python -m spikevrt\.prepare --help"),
        (["a.mp4", "--out", "x"], r"invalid choice: 'a\.mp4' \(choose from '?video"),
        (["video", "--out", "x"], r"required: SOURCE \(python -m spikevrt\.prepare video --help"),
        (["video", "a.mp4"], "required: --out"),
        (
            ["photos", "--out", "x", "--split-by", "clip"],
            r"arguments: --split-by \(python -m spikevrt\.prepare photos --help",
        ),
        (["import", "spk-gopro", "--out", "x"], "required: FOLDER"),
        (["import", "gopro", "folder", "--out", "x"], r"invalid choice: 'gopro' \(choose from '?spk-gopro"),
        (["voxels", "x", "--theta", "2"], "unrecognized arguments: --theta 2"),
        (["voxels", "x", "--workers", "0"], "--workers 0: must be at least 1"),
        (["voxels", "x", "--workers", "100000000"], "--workers 100000000: must be at most 1024"),
        (["check", "x", "--out", "y"], "unrecognized arguments: --out y"),
        (["video", "nowhere.mp4", "--out", "x"], r"nowhere\.mp4: no such video"),
        (["photos", "mona-lisa", "--out", "x"], "mona-lisa: no such photo, picture or folder; there are astronaut"),
        (["video", "a.mp4", "b/a.mp4", "c.mp4", "--out", "x"], r"sources share a name \(a\): rename"),
        (["video", "/", "--out", "x"], "/: its name is that of its results, but it has none"),
        (["video", ".a.mp4", "--out", "x"], r"\.a\.mp4: its name .* begins with a dot"),
        (["video", "", "--out", "x"], "SOURCE: an empty text names no file or folder"),
        (["video", "a.mp4", "--out", "x", "--theta", "0.5"], "--theta 0.5: must be at least 1"),
        (["video", "a.mp4", "--out", "x", "--theta", "nan"], "--theta nan: must be at least 1"),
        (["video", "a.mp4", "--out", "x", "--seed", "-1"], "--seed -1: must be at least 0"),
        (["video", "a.mp4", "--out", "x", "--spike-scale", "0"], "--spike-scale 0: must be at least 1"),
        (["video", "a.mp4", "--out", "x", "--factor", "0"], "--factor 0: must be at least 1"),
        (["video", "a.mp4", "--out", "x", "--exposure", "0"], "--exposure 0: must be at least 1"),
        (["video", "a.mp4", "--out", "x", "--factor", "1000000000"], "--factor 1000000000: must be at most 10000"),
        (["video", "a.mp4", "--out", "x", "--theta", "inf"], "--theta inf: must be at most 10000, or nothing fires"),
        (["video", "a.mp4", "--out", "x", "--seed", str(2**64)], "--seed 18446744073709551616: must be at most"),
        (
            ["video", "a.mp4", "--out", "x", "--spike-scale", "9" * 999],
            "--spike-scale an integer of 3319 bits: must be",
        ),
    ],
)
def test_wrong_arguments_are_named(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        prepare(arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("job", [None, *JOBS])
def test_every_job_has_help_with_an_example(job, capsys):
    with pytest.raises(SystemExit) as caught:
        prepare([job, "--help"] if job else ["--help"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    assert f"  python -m spikevrt.prepare {job or 'video'} " in printed
    assert job or all(f"    {name} " in printed for name in JOBS)


def test_too_few_frames_are_named(tmp_path):
    for i, frame in enumerate(moving_frames(8)):
        write_png(tmp_path / "short" / f"{i}.png", frame)
    with pytest.raises(UserError, match=r"no exposure of 5 frames fits in its share of 8 source frames"):
        prepare(["video", str(tmp_path / "short"), "--out", str(tmp_path / "out")])


def sharp_folder(folder):
    for index, frame in enumerate(moving_frames()):
        write_png(folder / f"{index:03}.png", frame)


def test_clips_are_called_as_their_folders_whatever_stands_behind_a_dot(tmp_path, monkeypatch, capsys):
    names = ["take.1", "take.2", "a\x1b[31m\n", "x\udcff"]
    for name in names:
        sharp_folder(tmp_path / name)
    sharp_folder(tmp_path / "below")
    options = ["--out", str(tmp_path / "data"), "--split-by", "clip", "--exposure", "2", "--factor", "2"]
    monkeypatch.chdir(tmp_path / "take.2")
    prepare(["video", "../take.1/", ".", "../below/../below", *[str(tmp_path / name) for name in names[2:]], *options])
    made_clips = {path.name for path in (tmp_path / "data").glob("*/*")}
    assert made_clips == {*names, "below"}
    notes = json.loads(next((tmp_path / "data").glob("*/take.2/clip.json")).read_text())
    assert notes["source"] == "take.2"
    printed = capsys.readouterr()
    assert r"a\x1b[31m\n: " in printed.out
    assert r"x\udcff: " in printed.out
    assert "\x1b[31m" not in printed.out + printed.err


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("take.1", "take.1"),
        ("take.mp4", "take"),
        ("v1.5.MOV", "v1.5"),
        ("a.3gp", "a"),
        ("rec.2024-01-01", "rec.2024-01-01"),
        ("take", "take"),
    ],
)
def test_a_file_is_called_without_its_ending(path, name):
    assert name_of(Path(path)) == name
