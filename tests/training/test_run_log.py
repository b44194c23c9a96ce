"""The log of a run: rows of steps that stand, whatever happened to the file."""

import json
import os
import random
import sys

import pytest
import torch

from spikevrt.training import run_log
from spikevrt.training.run_log import UNREADABLE_NAME, RunLog

MUTATIONS = int(os.environ.get("SPIKEVRT_FUZZ_LOGS", "60"))
ROWS = [{"kind": "train", "step": step, "loss": 0.5 / step, "lr": 1e-4} for step in range(1, 9)]
LINES = [json.dumps(row) for row in ROWS]


def opened(folder, step):
    """The rows after a resume at `step`."""
    RunLog(folder, step, 100, shown=True).close()
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_rows_of_later_steps_are_dropped(tmp_path):
    (tmp_path / "log.jsonl").write_text("\n".join(LINES) + "\n")
    assert opened(tmp_path, 5) == ROWS[:5]


def test_a_validation_that_is_made_again_has_no_row_yet(tmp_path):
    rows = [*ROWS[:4], {"kind": "val", "step": 2, "psnr": 20.0}, {"kind": "val", "step": 4, "psnr": 21.0}]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    RunLog(tmp_path, 4, 100, shown=True, validated=2).close()
    assert [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()] == rows[:5]


def test_without_a_terminal_rows_become_lines(tmp_path, capsys, monkeypatch):
    for terminal in (False, True):
        monkeypatch.setattr(sys.stderr, "isatty", lambda terminal=terminal: terminal)
        log = RunLog(tmp_path, 0, 100, shown=True)
        log.row("train", 20, loss=0.25, lr=1e-4)
        log.advance(0.25, 0.0, 0)
        log.close()
        found = capsys.readouterr()
        assert ("step 20 of 100: loss 0.2500, " in found.out) != terminal
        assert ("train:" in found.err) == terminal


def test_a_picture_of_a_validation_goes_to_tensorboard(tmp_path, monkeypatch):
    seen = []

    class Board:
        def add_scalar(self, *_):
            pass

        def add_image(self, name, picture, step):
            seen.append((name, tuple(picture.shape), step))

        def close(self):
            pass

    monkeypatch.setattr(run_log, "tensorboard", lambda *_: Board())
    log = RunLog(tmp_path, 0, 100, shown=True)
    log.picture(torch.zeros(3, 8, 24))
    log.row("train", 20, loss=0.25)
    log.row("val", 20, psnr=25.0)
    log.close()
    assert seen == [("val/blurred, restored, sharp", (3, 8, 24), 20)]


@pytest.mark.parametrize("last", [LINES[2][:20], LINES[2]], ids=["cut off", "without its newline"])
def test_a_last_line_without_an_end_is_kept_if_it_is_whole(tmp_path, last):
    (tmp_path / "log.jsonl").write_text("\n".join([*LINES[:2], last]))
    assert opened(tmp_path, 5) == ROWS[: 2 + (last == LINES[2])]
    assert not (tmp_path / UNREADABLE_NAME).exists()


@pytest.mark.parametrize(
    "line",
    [
        b"\xff\xfe broken",
        b"\0" * 300,
        b'{"kind": "train"}',
        b'{"kind": "train", "step": "3"}',
        b'{"kind": "train", "step": true}',
        b'{"kind": "train", "step": -1}',
        b"[1, 2]",
        b"[" * 100_000,
        b"step 3: loss 0.5",
    ],
)
def test_a_line_that_is_no_row_is_kept_beside_the_log_and_said(tmp_path, capsys, line):
    lines = [LINES[0].encode(), line, LINES[1].encode()]
    (tmp_path / "log.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    assert opened(tmp_path, 5) == ROWS[:2]
    assert (tmp_path / UNREADABLE_NAME).read_bytes() == line + b"\n"
    assert f"1 lines are not rows of a log and are now in {UNREADABLE_NAME}" in capsys.readouterr().out


def test_a_mutated_log_never_stops_a_run_and_keeps_whole_rows(tmp_path):
    draws, path = random.Random(0), tmp_path / "log.jsonl"
    for _ in range(MUTATIONS):
        data = bytearray(("\n".join(LINES) + "\n").encode())
        for _ in range(draws.randint(1, 4)):
            at = draws.randrange(len(data))
            match draws.randrange(4):
                case 0:
                    data[at] = draws.randrange(256)
                case 1:
                    del data[at:]
                case 2:
                    del data[at : at + draws.randint(1, 60)]
                case 3:
                    data[at:at] = draws.randbytes(draws.randint(1, 30))
            data = data or bytearray(b"\n")
        path.write_bytes(bytes(data))
        untouched = [line for line in bytes(data).split(b"\n") if line.decode("utf-8", "replace") in LINES]
        rows = opened(tmp_path, 8)
        assert [row for row in rows if row in ROWS] == [json.loads(line) for line in untouched]
        assert all(isinstance(row["step"], int) and 0 <= row["step"] <= 8 for row in rows)
        (tmp_path / UNREADABLE_NAME).unlink(missing_ok=True)
