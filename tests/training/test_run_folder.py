"""One run a folder, the checkpoint that a run continues from, and what becomes of files of later steps."""

import errno
import json
import os
import subprocess
import sys

import pytest
import torch

from spikevrt.config import config_to_tree, load_config
from spikevrt.errors import UserError
from spikevrt.training.origin import Origin
from spikevrt.training.run_folder import LOCK_NAME, SUPERSEDED, find_resume, locked, set_aside, start_over

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


def saved(path, step, best=9.0):
    torch.save({"training": {"step": step, "best": best}}, path)
    return path


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
    four = tmp_path / "step_00000004.pt"
    assert not set_aside(tmp_path, four, {"step": 4, "best": 9.0})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log.jsonl", "step_00000004.pt", SUPERSEDED]
    aside = sorted(p.name for p in (tmp_path / SUPERSEDED).iterdir())
    assert aside == ["best.pt", "last.pt", "log.jsonl", "step_00000006.pt"]
    assert "not what step 4 continues" in capsys.readouterr().out
    saved(tmp_path / "best.pt", 3)
    assert set_aside(tmp_path, four, {"step": 4, "best": 9.0})
    assert capsys.readouterr().out == ""


def test_a_run_that_was_killed_before_its_first_save_starts_again_and_its_best_weights_stay(tmp_path, capsys):
    torch.save({"weights_alone": True, "training": {"step": 2, "best": 9.0}}, tmp_path / "best.pt")
    assert find_resume("auto", tmp_path, load_config("demo")) is None
    assert (tmp_path / "best.pt").is_file()
    start_over(tmp_path)
    assert [path.name for path in (tmp_path / SUPERSEDED).iterdir()] == ["best.pt"]
    assert "best.pt: not what step 0 continues, so it is in superseded/ now" in capsys.readouterr().out


def test_what_was_set_aside_before_stays(tmp_path):
    for content in (b"first", b"second", b"third"):
        (tmp_path / "last.pt").write_bytes(content)
        set_aside(tmp_path, saved(tmp_path / "step_00000004.pt", 4), {"step": 4, "best": 9.0})
    kept = [(tmp_path / name / "last.pt").read_bytes() for name in ("superseded", "superseded_2", "superseded_3")]
    assert kept == [b"first", b"second", b"third"]


@pytest.mark.parametrize(("best", "aside"), [(9.0, ["last.pt"]), (8.0, ["best.pt", "last.pt", "step_00000002.pt"])])
def test_a_checkpoint_from_elsewhere_overwrites_nothing_of_the_run_that_is_there(tmp_path, best, aside):
    """`best.pt` tells another run: its score is not the best one up to the checkpoint."""
    folder, elsewhere = tmp_path / "run", saved(tmp_path / "other.pt", 9)
    folder.mkdir()
    for name, step in (("last.pt", 3), ("best.pt", 2), ("step_00000002.pt", 2)):
        saved(folder / name, step, best)
    assert set_aside(folder, elsewhere, {"step": 9, "best": 9.0}) == (best == 9.0)
    assert sorted(p.name for p in (folder / SUPERSEDED).iterdir()) == aside


def test_a_best_checkpoint_that_does_not_hold_the_best_score_is_set_aside(tmp_path):
    last = saved(tmp_path / "last.pt", 4, 9.0)
    saved(tmp_path / "best.pt", 2, 8.0)
    assert not set_aside(tmp_path, last, {"step": 4, "best": 9.0})
    assert last.is_file()


def test_the_best_checkpoint_of_a_validation_that_is_made_again_stays(tmp_path, capsys):
    """An error after the validation of step 4 saved `last.pt` without it; the run writes the same `best.pt` again."""
    last = saved(tmp_path / "last.pt", 4, 8.0)
    saved(tmp_path / "best.pt", 4, 9.0)
    assert set_aside(tmp_path, last, {"step": 4, "best": 8.0, "validated": 2})
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["last.pt", "best.pt"])
@pytest.mark.parametrize("resume", [None, "auto", "other.pt"])
def test_a_folder_in_the_place_of_a_checkpoint_is_one_line(tmp_path, name, resume):
    (tmp_path / name).mkdir()
    with pytest.raises(UserError, match=rf"{name}: is a folder where a run writes its checkpoint; rename or remove"):
        find_resume(resume, tmp_path, load_config("demo"))


def test_a_lock_that_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    (tmp_path / LOCK_NAME).mkdir()
    with pytest.raises(UserError, match=f"{LOCK_NAME}: Is a directory"), locked(tmp_path):
        pass
    (tmp_path / LOCK_NAME).rmdir()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(UserError, match=f"{LOCK_NAME}: No space left on device"), locked(tmp_path):
            pass
    assert not (tmp_path / LOCK_NAME).exists()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file: File exists"), locked(tmp_path / "file"):
        pass


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
