"""The GPU report: parts that hang, crash or give wrong output, an interrupted report, and no GPU."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from importlib import import_module
from pathlib import Path

import pytest
import torch

from bench.gpu import whole
from bench.gpu.board import FINDINGS, LOGS, PAGE, Board, Outcome, Task
from bench.gpu.page import page
from bench.gpu.part import END, NO_TIME, WELL, Finding, read_finding
from bench.gpu.part import main as main_of_part
from bench.gpu.setting import Setting
from bench.gpu.stages import JUDGED, Stage, fixed, sanitizing, stages
from bench.gpu_report import join, main, report, run, stages_named
from spikevrt.errors import UserError

GIB = 2**30
ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 40.0
"""A machine under load starts Python late."""


def toy(name, *arguments, limit=PATIENCE, job="tests.bench.toy_parts", **more):
    return Task(name, f"{job}.{name}", arguments, limit, **more)


def written(folder):
    return [json.loads(line) for line in (folder / FINDINGS).read_text().splitlines()]


def test_a_part_that_hangs_or_crashes_costs_only_itself(tmp_path, capsys):
    board = Board(tmp_path, 2 * PATIENCE, dry=True)
    tasks = [toy("hangs", limit=20), toy("crashes"), toy("fails"), toy("wrong"), toy("right")]
    for thread in board.start_all(tasks, workers=3):
        thread.join()
    board.close()
    status = {outcome.task.name: outcome.status for outcome in board.outcomes}
    assert status == {
        "hangs": "gave no answer within 20 s",
        "crashes": "crashes (SIGABRT)",
        "fails": "ends with code 1: RuntimeError: CUDA error: an illegal memory access",
        "wrong": WELL,
        "right": WELL,
    }
    assert [outcome.task.name for outcome in board.outcomes if outcome.well] == ["right"]
    texts = [row["text"] for row in written(tmp_path)]
    assert {"before it hung", "before it crashed", "off by half", "all right"} <= set(texts)
    text = (tmp_path / PAGE).read_text()
    assert "2 comparisons with float64, 1 of them wrong." in text
    assert "Nearest to what is allowed: 2.00 of it, off by half" in text
    assert "2 of 5 processes ended well." in text
    assert "fails: ends with code 1: RuntimeError: CUDA error: an illegal memory access" in text
    assert "the kernel's last words" in (tmp_path / LOGS / "crashes.txt").read_text()
    assert "talk of a library" in (tmp_path / LOGS / "right.txt").read_text()
    assert "!! off by half" in capsys.readouterr().out


def test_what_a_part_has_started_ends_with_it(tmp_path):
    board, mark = Board(tmp_path, 60, dry=True), tmp_path / "alive"
    board.run(toy("starts_another", str(mark), limit=10, environment={"OMP_NUM_THREADS": "3"}))
    size = mark.stat().st_size
    time.sleep(1)
    assert mark.stat().st_size == size > 0
    assert "3" in [row["text"] for row in written(tmp_path)], "the environment of a part is its own"


def test_no_part_starts_without_time(tmp_path):
    board = Board(tmp_path, 1)
    assert board.run(toy("right")).status == NO_TIME
    assert [(row["kind"], row["text"]) for row in written(tmp_path)] == [(END, NO_TIME)]
    assert "right: no time left" in (tmp_path / PAGE).read_text()


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_a_report_that_is_cut_off_is_whole_lines_and_a_page(tmp_path, end):
    command = [sys.executable, "-m", "bench.gpu_report", "--dry", "--out", str(tmp_path)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, "--parts", "env", "smoke", "check"], cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "ok own" in line:  # One of some thirty processes of the last part: most are yet to come.
            process.send_signal(end)
            break
    rest = process.stdout.read()
    assert process.wait(20) == (128 + end if end == signal.SIGTERM else -end)
    assert ("==== summary" in rest) == (end == signal.SIGTERM)
    rows = [read_finding(line) for line in (tmp_path / FINDINGS).read_text().splitlines()]
    assert None not in rows
    assert {"machine", "check", "start", "end"} <= {row.kind for row in rows}
    text = (tmp_path / PAGE).read_text()
    assert text.startswith("# GPU report\n\n## Machine\n")
    assert "comparisons with float64, 0 of them wrong." in text
    assert "3 of " in text, "env, smoke and one check have ended well"


def test_a_row_that_was_cut_off_is_left_out():
    line = Finding("note", "said").line()
    assert read_finding(line) == Finding("note", "said")
    assert read_finding(line[:-5]) is None
    assert read_finding("[1, 2]") is None
    assert read_finding('{"unknown": 1}') is None


def test_the_page_holds_measured_beside_predicted():
    rows = [
        Finding("machine", "a GPU"),
        Finding(
            "step", "one step", keep=True,
            figures={"entry": "triton", "seconds": 1.5, "host": 0.25, "first": 9, "peak": 9 * GIB},
        ),
        Finding("peak", figures={"entry": "triton", "bytes": 8 * GIB}),
        Finding("peak", figures={"entry": "naive", "bytes": 90 * GIB}),
        Finding("dram", figures={
            "op": "temporal_block", "shape": "self", "kernel": "k", "launches": 2, "read": 3e6, "written": 1e6,
            "declared": 2e6,
        }),
        Finding("time", figures={
            "op": "temporal_block", "shape": "self", "direction": "forward", "entry": "sdpa", "ms": 1.25,
            "least": 1.0, "most": 2.0, "peak": GIB // 2,
        }),
        Finding("start", part="step auto"),
        Finding("end", "crashes (SIGSEGV)", True, part="step sdpa"),
    ]  # fmt: skip
    cells = [line.split() for line in page(rows).splitlines()]
    assert ["triton", "1.500", "0.250", "9.000", "9.00", "8.00", "1.12"] in cells
    assert ["naive", "-", "-", "-", "-", "90.00", "-"] in cells
    assert ["temporal_block", "self", "k", "2", "3.0", "1.0", "2.0", "2.00"] in cells
    assert ["temporal_block", "self", "forward", "sdpa", "1.250", "1.000", "2.000", "0.50"] in cells
    assert ["step", "auto:", "not", "ended", "yet"] in cells
    assert ["step", "sdpa:", "crashes", "(SIGSEGV)"] in cells


def test_every_part_names_a_function_that_is_there():
    for stage in stages(Setting(dry=True), "scratch"):
        for task in stage.tasks([]):
            module, _, function = task.job.rpartition(".")
            assert callable(getattr(import_module(module), function)), task.name


def test_the_sanitizer_takes_the_first_that_crashed_before_the_first_that_was_wrong():
    wrong = Outcome(Task("odd temporal_block bf16", f"{JUDGED}odd", ("temporal_block", "bf16")), WELL, True)
    late = Outcome(Task("odd temporal_block fp16", f"{JUDGED}odd", ("temporal_block", "fp16")), NO_TIME, False)
    crashed = Outcome(Task("own window_attention 3", f"{JUDGED}own", ("window_attention", "3")), "crashes", False)
    other = Outcome(Task("whole model", "bench.gpu.whole.distance"), "crashes", False)
    (task,) = sanitizing([other, late, wrong, crashed])
    assert task.arguments == (f"{JUDGED}own", "window_attention", "3")
    assert sanitizing([wrong])[0].arguments == (f"{JUDGED}odd", "temporal_block", "bf16")
    assert sanitizing([other, late]) == []


def test_a_part_by_hand_prints_its_rows(capsys):
    assert main_of_part(["--dry", "tests.bench.toy_parts.wrong", "a third"]) == 1
    assert read_finding(capsys.readouterr().out) == Finding("check", "off by a third", True, figures={"excess": 2.0})


class Slow:
    """A board whose tasks take a while, a thread each."""

    def __init__(self):
        self.outcomes, self.begun, self.ended = [], [], []

    def start_all(self, tasks, workers):
        def work(task):
            self.begun.append((task.name, list(self.ended)))
            time.sleep(0.5 if task.name == "data" else 0.05)
            self.ended.append(task.name)

        threads = [threading.Thread(target=work, args=(task,)) for task in tasks]
        for thread in threads:
            thread.start()
        return threads


def test_a_stage_goes_on_beside_others_until_it_is_needed():
    board = Slow()
    data = Stage("data", fixed(Task("data", "")), beside=True)
    run(board, [data, Stage("check", fixed(Task("check", ""))), Stage("train", fixed(Task("train", "")), after="data")])
    assert board.begun == [("data", []), ("check", []), ("train", ["check", "data"])]
    board = Slow()
    run(board, [data, Stage("check", fixed(Task("check", "")))])
    assert sorted(board.ended) == ["check", "data"], "waited for at the end"
    (train,) = [stage for stage in stages(Setting(dry=True), "scratch") if stage.name == "train"]
    assert train.after == "data"


def started(thread):
    thread.start()
    return thread


def test_a_signal_that_another_thread_takes_is_heeded(tmp_path):
    """A thread that starts a process may take SIGTERM from the main thread, which is then not woken."""
    end = threading.Event()

    def takes():
        time.sleep(0.5)  # The main thread waits by now.
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        end.wait(PATIENCE)

    start = time.monotonic()
    with pytest.raises(SystemExit), report(tmp_path, PATIENCE, dry=True):
        join([started(threading.Thread(target=takes, daemon=True))])
    assert time.monotonic() - start < PATIENCE / 2
    end.set()


def test_the_predicted_peak_is_that_of_the_entry(monkeypatch):
    monkeypatch.setattr(whole, "predicted_training_peak", lambda config, half: len(config.model.attn_backend))
    for entry in ("triton", "sdpa"):
        (row,) = whole.predicted(Setting(dry=True), entry)
        assert row.figures == {"entry": entry, "bytes": len(entry)}


def test_without_a_gpu_one_line_names_the_remedy(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"no CUDA device here: run this on a machine with one") as caught:
        main(["--out", str(tmp_path / "report")])
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_part_is_one_line():
    with pytest.raises(UserError, match=r"--parts quick: there is no such part; use env, smoke, "):
        stages_named(stages(Setting(dry=True), "scratch"), ["env", "quick"])
