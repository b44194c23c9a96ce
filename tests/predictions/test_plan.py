"""`python -m spikevrt.plan`: one record, shown as text, JSON and a picture."""

import json

import numpy as np
import pytest
import torch
from PIL import Image, ImageColor

from spikevrt.config import config_to_yaml, load_config
from spikevrt.errors import UserError
from spikevrt.models import Backends
from spikevrt.models.segments import Way
from spikevrt.plan import main as plan
from spikevrt.predictions import picture, report
from spikevrt.predictions.backends import Found, with_backend
from spikevrt.predictions.step import GPU_SIZES, fit, in_gb
from spikevrt.predictions.text import detailed, text_of
from spikevrt.restoration.memory import RestorationMemory
from spikevrt.system.memory import CONTEXT_BYTES, GAPS_SHARE
from spikevrt.training.memory_budget import GB, step_memory
from tests.small_data import small_config

SHALLOW = (
    "MODEL.VRT.DEPTHS=[2,1,1,1,1,1,1,1]",
    "MODEL.VRT.INDEP_RECONSTS=[7]",
    "MODEL.VRT.NUM_HEADS=[2, 2, 2, 2, 2, 2, 2, 2]",
    "TRAIN.BATCH_SIZE=2",
)


@pytest.fixture(scope="module")
def load(tree):
    """More options -> the configuration with them."""
    return lambda options: small_config(tree, *SHALLOW, *options)


@pytest.fixture(scope="module")
def found(load):
    """The kernels, looked at once, with two ways; they stand for sdpa too, and naive cannot run."""
    step = step_memory(load([]), Backends.of("triton"), torch.bfloat16, ways=(Way.KEEP, Way.AGAIN))
    own = Found("triton", None, step, RestorationMemory(10**7, 1000.0))
    other = own._replace(restoration=None)
    return [own, other._replace(backend="sdpa"), other._replace(backend="naive", why_not="too slow", step=None)]


@pytest.fixture(scope="module")
def gpu(found):
    """GB of a GPU that holds about half of what all kept takes."""
    memory = found[0].step
    return (memory.peak(memory.least()) + memory.peak(memory.most())) / 2 / (1 - GAPS_SHARE) / GB + CONTEXT_BYTES / GB


@pytest.fixture(scope="module")
def early():
    """Reports of the detailed backend alone, as they came."""
    return []


@pytest.fixture(scope="module")
def predicted(load, found, gpu, early):
    def with_every_backend(config, first):
        first(found[0])
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "with_every_backend", with_every_backend)
        return report.predict(load, "small", ["A=1"], gpu, early.append)


def test_the_detailed_backend_is_there_before_the_others(predicted, early):
    (one,) = early
    assert detailed(one) == detailed(predicted)
    assert one.backends == predicted.backends[:1]


def test_points_go_from_the_least_memory_to_the_least_work(predicted, gpu):
    own, other, none = predicted.backends
    peaks, again = ([getattr(point, name) for point in own.points] for name in ("peak", "again"))
    assert len(peaks) >= 6
    assert peaks == sorted(set(peaks))
    assert again == sorted(again, reverse=True)
    assert again[-1] == 0
    assert {other.points[0].peak, other.points[-1].peak} == {peaks[0], peaks[-1]}
    assert none.points == ()
    assert all(point.gpu == gpu or point.gpu in GPU_SIZES for point in own.points)


def test_what_a_gpu_holds_is_what_a_run_with_these_options_does(load, found, predicted):
    assert predicted.fit.point.peak <= predicted.fit.budget * GB
    assert load(predicted.fit.options).train.memory_budget_gb == f"{predicted.fit.budget:g}"
    for options in predicted.fit.largest:
        load(options)
    sizes = {option.split("=")[0] for options in predicted.fit.largest for option in options[1:]}
    assert {"TRAIN.BATCH_SIZE", "DATA.CROP_SIZE"} <= sizes
    nothing = fit(found[0].step, [], 0.71, load)
    assert nothing.point is None
    assert nothing.options == nothing.largest == ()


def test_work_of_the_parts_adds_up_to_the_step(found, predicted):
    memory, stages = found[0].step, {stage.stage: stage for stage in predicted.work}
    assert sum(stage.forward["bytes"] for stage in predicted.work) == memory.forward
    assert sum(stage.backward["launches"] for stage in predicted.work) > memory.elsewhere.launches > 0
    assert {"vrt.stage1", "vrt.stage8", "spike_encoder", "cross_attn_fuse"} <= set(stages)
    assert 0 < predicted.inside_kernels < 1.5
    assert all(stage.forward["flops"] > 0 for name, stage in stages.items() if name.startswith("vrt.stage"))


def test_json_and_text_have_the_same_figures(predicted):
    tree, text = json.loads(predicted.as_json()), text_of(predicted)
    assert tree["format"] == 1
    assert {"spikevrt", "torch"} <= set(tree["versions"])
    for point in tree["backends"][0]["points"]:
        assert f"\n{in_gb(point['peak'])}  " in text
        assert point["holder"] in text
    assert f"{sum(tree['parameters'].values()):,}" in text
    for size in tree["restoration"]:
        line = next(line for line in text.splitlines() if line.startswith(f"{size['width']}x{size['height']} "))
        assert line.split()[2] == in_gb(size["peaks"]["triton"])
    for line in ("naive: too slow", f"--opts {' '.join(tree['fit']['options'])}", "0.7 GB and 5%"):
        assert line in text
    assert all(part in text for part in tree["allowance"]["left_out"])


def test_the_picture_has_every_curve_and_the_memory_of_the_gpu(predicted):
    drawn = picture.drawn(predicted)
    assert drawn.shape == (*picture.SIZE[::-1], 3)
    below = drawn[picture.TOP :].astype(int)
    for curve in predicted.curves:
        colour = ImageColor.getrgb(picture.COLOURS[curve.name])
        assert (abs(below - colour).max(-1) < 40).any()
    assert {curve.name for curve in predicted.curves} == {"least", "chosen", "all kept"}
    peaks = {curve.name: curve.peak for curve in predicted.curves}
    assert peaks["least"] == predicted.backends[0].points[0].peak
    assert peaks["chosen"] <= predicted.fit.budget * GB
    assert peaks["all kept"] == predicted.backends[0].points[-1].peak


def test_a_backend_that_cannot_run_says_so(load):
    one = with_backend(load(["DATA.CLIP_LEN=9"]), "triton")
    assert "T = 9 is above 8" in one.why_not
    assert one.step is None


def test_a_report_needs_no_gpu_whatever_the_backend(load, found, gpu):
    """The kernels cannot run here, but what they need is known."""
    for backend in ("triton", "naive"):
        config = f"MODEL.ATTN_BACKEND={backend}"
        made = report.report_of(lambda options, own=config: load([own, *options]), "small", [], gpu, found)
        assert sum(made.parameters.values()) > 1000
        assert made.fit.point is not None
        assert made.fit.largest


@pytest.fixture
def command(predicted, monkeypatch):
    """Runs the command on the prediction that is there."""
    monkeypatch.setattr(report, "predict", lambda *_: predicted)
    return lambda *arguments: plan(["--config", "demo", *map(str, arguments)])


def test_the_command_prints_and_writes(command, predicted, tmp_path, capsys):
    assert command("--json", tmp_path / "plan.json", "--picture", tmp_path / "plan") == 0
    assert capsys.readouterr().out == f"{text_of(predicted)}\n"
    assert (tmp_path / "plan.json").read_text() == f"{predicted.as_json()}\n"
    assert np.array_equal(np.asarray(Image.open(tmp_path / "plan.png")), picture.drawn(predicted))
    assert command("--json", "-") == 0
    assert json.loads(capsys.readouterr().out) == json.loads(predicted.as_json())


def test_bad_input_is_one_line(command, tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text(config_to_yaml(load_config("demo")))
    (tmp_path / "file").write_text("")
    for arguments, said in (
        (("--gpu-memory", "0"), "positive number"),
        (("--json", tmp_path), "is a folder"),
        (("--json", tmp_path / "file" / "plan.json"), "file"),
        (("--config", own, "--json", own), "is an input"),
        (("--json", tmp_path / "a.png", "--picture", tmp_path / "a"), "is the file of --json too"),
        (("--picture", tmp_path / "a.jpg"), r"must be a \.png"),
        (("--traffic", "--json", "-"), "leave out --json"),
    ):
        with pytest.raises(UserError, match=said):
            command(*arguments)
