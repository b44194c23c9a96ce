"""`--dry-run` predicts a run and leaves nothing; `--profile` leaves a trace and a table and nothing else."""

import gzip
import json
import os
import re
import signal
from pathlib import Path

import pytest

from spikevrt.config import config_to_yaml
from spikevrt.errors import EXIT_INTERRUPTED, UserError
from spikevrt.train import main as train
from spikevrt.training import dry_run as dry_run_module
from spikevrt.training.dry_run import DryRun, duration, times_due
from spikevrt.training.profiling import TABLE, TRACE
from tests.small_data import small_config


@pytest.fixture
def command(tree, tmp_path):
    """Arguments of a run into <tmp_path>/runs/own; more options follow."""

    def make(*options, root=tree):
        folder = tmp_path / "runs" / "own"
        quick = ("TRAIN.NUM_WORKERS=1", "TRAIN.MAX_STEPS=1000", "TRAIN.VAL_EVERY=100", "TRAIN.SAVE_EVERY=100")
        config = small_config(root, f"TRAIN.OUTPUT_DIR={folder}", *quick, *options)
        path = tmp_path / "own.yaml"
        path.write_text(config_to_yaml(config))
        return ["--config", str(path), "--device", "cpu"]

    return make


def contents(folder: Path) -> dict[str, bytes | None]:
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def test_a_dry_run_predicts_and_makes_no_folder(command, tmp_path, capsys):
    arguments = [*command(), "--dry-run"]
    before = contents(tmp_path)
    assert train(arguments) == 0
    assert contents(tmp_path) == before
    output = capsys.readouterr().out
    found = re.search(
        r"time: about (.+) for 1000 steps of ([\d.e-]+) s, 10 validations of ([\d.e-]+) s and 20 checkpoints", output
    )
    assert found is not None, output
    assert all(float(seconds) > 0 for seconds in found.groups()[1:])
    assert re.search(r"disk: 5 checkpoints of \d+\.\d MiB = \d+\.\d\d GiB, .*; \d+\.\d GiB are free\n", output)
    assert re.search(r"memory: \d+\.\d\d GiB resident in this process", output)
    assert f"nothing was kept; {tmp_path / 'runs' / 'own'} is as it was" in output


def test_a_run_in_the_folder_stays_as_it_is_and_may_be_continued_from(command, tmp_path, capsys):
    assert train(command("TRAIN.MAX_STEPS=2", "TRAIN.FREEZE_FLOW_STEPS=9")) == 0
    before = contents(tmp_path / "runs")
    assert train([*command("TRAIN.MAX_STEPS=12", "TRAIN.FREEZE_FLOW_STEPS=9"), "--dry-run", "--resume", "auto"]) == 0
    output = capsys.readouterr().out
    assert "for 10 steps of" in output
    assert "holds a run already" not in output
    assert train([*command(), "--dry-run"]) == 0
    assert "holds a run already: to train there, continue it with --resume auto" in capsys.readouterr().out
    assert train([*command("TRAIN.MAX_STEPS=2"), "--dry-run", "--resume", "auto"]) == 0
    assert "all 2 steps are done; nothing is left to try" in capsys.readouterr().out
    assert contents(tmp_path / "runs") == before


@pytest.mark.parametrize("option", ["--dry-run", "--profile"])
def test_an_error_and_ctrl_c_leave_nothing_either(command, own_tree, tmp_path, monkeypatch, option):
    arguments = [*command(root=own_tree), option]
    before = contents(tmp_path)
    one_step = dry_run_module.Rehearsal._one_step

    def interrupted(*own):
        os.kill(os.getpid(), signal.SIGINT)
        one_step(*own)

    with monkeypatch.context() as patch:
        patch.setattr(dry_run_module.Rehearsal, "_one_step", interrupted)
        assert train(arguments) == EXIT_INTERRUPTED
    assert contents(tmp_path) == before
    for path in own_tree.glob("train/*/blur/*.png"):
        path.write_bytes(b"damaged")
    before = contents(tmp_path)
    with pytest.raises(UserError, match="cannot be read as a picture"):
        train(arguments)
    assert contents(tmp_path) == before


def test_the_flow_is_trained_unless_it_never_is(tree, tmp_path):
    def frozen(*options):
        config = small_config(tree, "TRAIN.FREEZE_FLOW_STEPS=5", *options)
        own = dry_run_module.Processes(0, 1, dry_run_module.torch.device("cpu"))
        return DryRun(config, own, dry_run_module.RunOptions(), None, tmp_path, 2).config.train.freeze_flow_steps

    assert frozen("TRAIN.MAX_STEPS=5") == 5
    assert frozen("TRAIN.MAX_STEPS=6") == 0
    assert frozen("TRAIN.EPOCHS=1") == 0


def test_a_full_disk_is_told(command, monkeypatch, capsys):
    usage = dry_run_module.shutil.disk_usage("/")._replace(free=1 << 20)
    monkeypatch.setattr(dry_run_module.shutil, "disk_usage", lambda path: usage)
    assert train([*command(), "--dry-run"]) == 0
    assert "THAT IS NOT ENOUGH: lower TRAIN.KEEP_LAST or make room" in capsys.readouterr().out


def test_a_profile_is_a_trace_and_a_table(command, tmp_path, capsys):
    assert train([*command(), "--profile", "2"]) == 0
    folder = tmp_path / "runs" / "own" / "profile"
    assert {p.name for p in tmp_path.glob("runs/own/*")} == {"profile"}
    assert {p.name for p in folder.iterdir()} == {TRACE, TABLE}
    with gzip.open(folder / TRACE, "rt") as file:
        names = {event.get("name") for event in json.load(file)["traceEvents"]}
    assert {"ProfilerStep#2", "ProfilerStep#3"} <= names
    assert "ProfilerStep#1" not in names
    table = (folder / TABLE).read_text().splitlines()
    assert table[0].split() == ["operator", "calls", "per", "step", "ms", "per", "step", "share"]
    own = [float(line.split()[-2]) for line in table[2:]]
    assert own == sorted(own, reverse=True)
    assert not any("ProfilerStep" in line for line in table)
    output = capsys.readouterr().out
    assert table[2].split()[0] in output
    assert f"{folder / TRACE}: open it in" in output
    assert "profiled, not trained: no step was kept" in output


@pytest.mark.parametrize("arguments", [["--profile", "0"], ["--profile", "x"], ["--dry-run", "--profile"]])
def test_what_cannot_be_is_refused(arguments):
    with pytest.raises(UserError, match="--profile"):
        train(arguments)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (59.6, "1 min 0 s"), (750, "12 min 30 s"), (5 * 3600 + 719, "5 h 11 min"), (190_800, "2 d 5 h")],
)
def test_a_time_in_its_two_largest_units(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("begin", "end", "every", "times"), [(0, 10, 5, 2), (0, 11, 5, 3), (4, 11, 5, 3), (5, 10, 5, 1), (0, 3, 1000, 1)]
)
def test_how_often_something_is_due(begin, end, every, times):
    assert times_due(begin, end, every) == times
