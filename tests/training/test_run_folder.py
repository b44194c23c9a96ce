"""One run a folder, the checkpoint that a run continues from, and what becomes of files of later steps."""

import json
import os
import subprocess
import sys

import pytest
import torch

from spikevrt.config import config_to_tree, load_config
from spikevrt.errors import UserError
from spikevrt.training.origin import Origin
from spikevrt.training.run_folder import LOCK_NAME, SUPERSEDED, find_resume, locked, set_aside_later

HOLD = """
import sys, time
from pathlib import Path
from spikevrt.training.run_folder import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the folder."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, env=environment)
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_run_in_the_folder_is_refused_and_the_first_one_named(tmp_path, holder):
    message = rf"process {holder.pid} on .* trains here now.*another TRAIN.OUTPUT_DIR"
    with pytest.raises(UserError, match=message), locked(tmp_path):
        pass
    assert (tmp_path / LOCK_NAME).is_file()


def test_the_lock_of_a_killed_run_is_taken_over_with_a_line(tmp_path, holder, capsys):
    holder.kill()
    holder.wait()
    with locked(tmp_path):
        assert json.loads((tmp_path / LOCK_NAME).read_text())["process"] == os.getpid()
    assert f"left by process {holder.pid}" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path):
        pass
    assert capsys.readouterr().out == "", "an orderly end leaves nothing to take over"


def test_worker_processes_do_not_hold_the_lock(tmp_path):
    """They can outlive a killed run for some seconds."""
    script = HOLD.replace('    print("held"', '    import os\n    if os.fork() == 0: time.sleep(60)\n    print("held"')
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", script, tmp_path], stdout=subprocess.PIPE, env=environment, start_new_session=True
    )
    try:
        assert process.stdout.readline() == b"held\n"
        process.kill()
        process.wait()
        with locked(tmp_path):
            pass
    finally:
        os.killpg(process.pid, 9)


@pytest.mark.parametrize("text", ["", "{", '{"host": 1}', '{"host": "h", "process": "x"}', "[]", "\0" * 9])
def test_a_damaged_lock_file_stops_nobody(tmp_path, text):
    (tmp_path / LOCK_NAME).write_text(text)
    with locked(tmp_path):
        pass


def saved(path, step):
    torch.save({"training": {"step": step}}, path)


def test_a_new_run_is_not_started_over_any_checkpoint(tmp_path):
    for name in ("last.pt", "best.pt", "step_00000002.pt"):
        folder = tmp_path / name.split(".")[0]
        folder.mkdir()
        saved(folder / name, 2)
        with pytest.raises(UserError, match=rf"{name}: holds a run already; continue it with --resume auto"):
            find_resume(None, folder, load_config("demo"))


def test_files_of_later_steps_are_set_aside_and_nothing_is_lost(tmp_path, capsys):
    for name, step in (("last.pt", 6), ("best.pt", 5), ("step_00000004.pt", 4), ("step_00000006.pt", 6)):
        saved(tmp_path / name, step)
    (tmp_path / "log.jsonl").write_text("rows\n")
    assert not set_aside_later(tmp_path, 4)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log.jsonl", "step_00000004.pt", SUPERSEDED]
    aside = sorted(p.name for p in (tmp_path / SUPERSEDED).iterdir())
    assert aside == ["best.pt", "last.pt", "log.jsonl", "step_00000006.pt"]
    assert "later than step 4" in capsys.readouterr().out
    saved(tmp_path / "best.pt", 3)
    assert set_aside_later(tmp_path, 4)
    assert capsys.readouterr().out == ""


def state_of(*options, **training):
    return {"config": config_to_tree(load_config("demo", options)), "training": {"step": 3, **training}}


@pytest.mark.parametrize(
    ("options", "training", "changed", "order"),
    [
        (["TRAIN.SEED=1"], {}, "TRAIN.SEED 0 -> 1", "is a new one"),
        (["DATA.NORM.MEAN=0.5"], {}, "DATA.NORM.MEAN", "stays the same"),
        (["DATA.CROP_SIZE=96"], {}, "DATA.CROP_SIZE", "stays the same"),
        (["TRAIN.BATCH_SIZE=7"], {}, "TRAIN.BATCH_SIZE", "stays the same"),
        ([], {"world": 2}, "processes 2 -> 1", "stays the same"),
        ([], {"samples": 9}, "samples 9 -> 10", "is a new one"),
    ],
)
def test_what_changed_since_the_checkpoint_is_one_line(tmp_path, options, training, changed, order):
    origin = Origin.of(state_of(**({"samples": 10, "world": 1} | training)), 1)
    line = origin.sentence(tmp_path / "last.pt", load_config("demo", options), 1, 10)
    assert "\n" not in line
    assert "continues from step 3; from here on " in line
    assert changed in line
    assert f"the order of samples {order}, weights and optimiser continue" in line


def test_where_nothing_changed_nothing_is_said_of_changes(tmp_path):
    moved = load_config("demo", ["DATA.ROOT=/elsewhere", "TRAIN.OUTPUT_DIR=other"])
    line = Origin.of(state_of(samples=10, world=1), 1).sentence(tmp_path / "last.pt", moved, 1, 10)
    assert line == f"{tmp_path / 'last.pt'}: continues from step 3"
