"""`--skip-bad-samples N`: unreadable training samples are replaced, counted over all processes, and listed."""

import os
import subprocess
import sys

import pytest
import torch

from spikevrt.config import config_to_yaml
from spikevrt.data.clips.dataset import ClipDataset
from spikevrt.errors import UserError
from spikevrt.training.bad_samples import LEFT_OUT, LIST_NAME, BadSamples, Tolerant
from spikevrt.training.distributed import Processes
from spikevrt.training.options import RunOptions
from spikevrt.training.trainer import Trainer
from tests.small_data import small_config
from tests.training.stopping import stop_after

CPU = Processes(0, 1, torch.device("cpu"))
QUICK = ("TRAIN.LOG_EVERY=1", "TRAIN.WARMUP_STEPS=1", "TRAIN.VAL_EVERY=99")


def damage(tree, clip, *frames):
    """Damage pictures of a training clip; the samples that hold a frame are itself and the one before."""
    pictures = sorted((tree / "train" / clip / "blur").glob("*.png"))
    for frame in frames:
        pictures[frame].write_bytes(b"damaged")
    return [str(pictures[frame]) for frame in frames]


def start(tree, folder, most, *options, resume=False):
    config = small_config(tree, f"TRAIN.OUTPUT_DIR={folder}", *QUICK, *options)
    return Trainer(config, CPU, folder / "last.pt" if resume else None, RunOptions(skip_bad_samples=most))


def data(tree):
    return ClipDataset(small_config(tree).data, "train", augment=True, use_spike=True, crop=40)


def test_the_next_readable_sample_takes_the_place(own_tree):
    whole = data(own_tree)
    expected = whole[2, 5]
    (path,) = damage(own_tree, "clip0", 1)
    found = Tolerant(whole, 2)[0, 5]
    (first, second) = found.pop(LEFT_OUT)
    assert (first[0], second[0]) == (0, 1)
    assert path in first[1]
    assert found["stems"] == expected["stems"]
    assert torch.equal(found["blur"], expected["blur"])
    assert Tolerant(whole, 2)[3, 5][LEFT_OUT] == []


def test_after_the_last_sample_comes_the_first(own_tree):
    whole = data(own_tree)
    damage(own_tree, "clip1", -1)
    found = Tolerant(whole, 1)[len(whole) - 1, 0]
    assert found["stems"] == whole[0, 0]["stems"]
    assert found["clip"] == whole[0, 0]["clip"]


def test_more_in_a_row_than_allowed_is_an_error(own_tree):
    (path, _) = damage(own_tree, "clip0", 1, 2)
    with pytest.raises(UserError, match=f"{path}.*; more than --skip-bad-samples 1 training samples cannot be read"):
        Tolerant(data(own_tree), 1)[0, 5]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_leaves_them_out_and_lists_each_reason_once(own_tree, tmp_path, capsys, workers):
    paths = damage(own_tree, "clip0", 1, 4)
    folder = tmp_path / "run"
    options = (f"TRAIN.NUM_WORKERS={workers}", "TRAIN.BATCH_SIZE=5")
    run = start(own_tree, folder, 4, "TRAIN.MAX_STEPS=3", *options)
    assert run.run()
    output = capsys.readouterr()
    lines = [line for line in (output.out + output.err).splitlines() if "left out: " in line]
    assert len(lines) == 2
    assert all("of --skip-bad-samples 4)" in line for line in lines)
    listed = (folder / LIST_NAME).read_text().splitlines()
    assert sorted(listed) == sorted(run.bad_samples.reasons[i] for i in (0, 3))
    assert [path in line for path, line in zip(paths, sorted(listed), strict=True)] == [True, True]
    assert sorted(run.bad_samples.reasons) == [0, 1, 3, 4]
    assert start(own_tree, folder, 4, "TRAIN.MAX_STEPS=5", *options, resume=True).run()
    assert (folder / LIST_NAME).read_text().splitlines() == listed, "none twice"


def test_one_more_is_an_error_that_loses_no_step(own_tree, tmp_path):
    damage(own_tree, "clip0", 1, 4)
    run = start(own_tree, tmp_path / "run", 3, "TRAIN.MAX_STEPS=9", "TRAIN.NUM_WORKERS=0")
    with pytest.raises(UserError, match=r"cannot be read as a picture.*; more than --skip-bad-samples 3 training sam"):
        run.run()
    assert torch.load(tmp_path / "run" / "last.pt", weights_only=True)["training"]["step"] == run.step >= 1


def test_nothing_is_left_out_unless_asked_for(own_tree, tmp_path):
    damage(own_tree, "clip0", 1)
    with pytest.raises(UserError, match="cannot be read as a picture") as caught:
        start(own_tree, tmp_path / "run", 0, "TRAIN.MAX_STEPS=10", "TRAIN.NUM_WORKERS=0").run()
    assert "skip-bad-samples" not in str(caught.value)


def test_a_resumed_run_takes_the_same_samples(own_tree, tmp_path):
    damage(own_tree, "clip0", 2)
    common = ("TRAIN.NUM_WORKERS=0", "TRAIN.SAVE_EVERY=2")
    assert start(own_tree, tmp_path / "whole", 5, "TRAIN.MAX_STEPS=4", *common).run()
    first = start(own_tree, tmp_path / "parts", 5, "TRAIN.MAX_STEPS=4", *common)
    stop_after(first, 2)
    assert not first.run()
    assert start(own_tree, tmp_path / "parts", 5, "TRAIN.MAX_STEPS=4", *common, resume=True).run()
    whole, parts = (torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("whole", "parts"))
    assert all(torch.equal(value, parts["params"][name]) for name, value in whole["params"].items())


class Others:
    """Two processes, of which the other one has news of its own."""

    first = True

    def gather(self, news):
        return [news, {7: "b.png: damaged", 2: "a.png: damaged"}]


def test_the_news_of_all_processes_are_put_together(tmp_path):
    bad = BadSamples(3, tmp_path)
    raw = [{LEFT_OUT: [[(2, "a.png: damaged")], [(1, "a.png: damaged")]], "stems": []}]
    assert list(bad.watched(iter(raw))) == [{"stems": []}]
    assert bad.settle(Others()) == [
        "left out: a.png: damaged (3 of --skip-bad-samples 3)",
        "left out: b.png: damaged (3 of --skip-bad-samples 3)",
    ]
    assert (tmp_path / LIST_NAME).read_text() == "a.png: damaged\nb.png: damaged\n"
    bad.news = {4: "a.png: damaged"}
    with pytest.raises(UserError, match=r"a\.png: damaged; more than --skip-bad-samples 3"):
        bad.settle(CPU)


def test_two_processes_count_together(own_tree, tmp_path):
    damage(own_tree, "clip0", 1, 4)
    folder = tmp_path / "two"
    config = small_config(own_tree, f"TRAIN.OUTPUT_DIR={folder}", *QUICK, "TRAIN.MAX_STEPS=5", "TRAIN.NUM_WORKERS=1")
    (tmp_path / "two.yaml").write_text(config_to_yaml(config))
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "spikevrt.train"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, *command, "--config", str(tmp_path / "two.yaml"), "--skip-bad-samples", "4"]
    done = subprocess.run(arguments, env=environment, check=True, timeout=300, capture_output=True, text=True)
    lines = [line for line in (done.stdout + done.stderr).splitlines() if "left out: " in line]
    assert len(lines) == len((folder / LIST_NAME).read_text().splitlines()) == 2
