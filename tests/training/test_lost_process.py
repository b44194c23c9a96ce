"""A process of a group that is killed, and signals to a group: one line, the exit code, a state to resume from."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from spikevrt.config import config_to_yaml
from spikevrt.system.subprocesses import Command, call_together, free_port
from spikevrt.training.peers import Peers, running
from tests.small_data import small_config

pytestmark = pytest.mark.runs

OURS = ("-m", "spikevrt.train", "--processes", "2")
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "spikevrt.train")
NO_FLOW = ("TRAIN.FREEZE_FLOW_STEPS=1000", "TRAIN.NUM_WORKERS=1", "TRAIN.LOG_EVERY=1", "TRAIN.VAL_EVERY=1000")


@contextmanager
def training(tree: Path, folder: Path, launcher: tuple[str, ...]) -> Iterator[subprocess.Popen[str]]:
    """A run of two processes that has taken a step."""
    config = small_config(tree, f"TRAIN.OUTPUT_DIR={folder}", "TRAIN.MAX_STEPS=500", *NO_FLOW)
    folder.mkdir()
    (folder / "own.yaml").write_text(config_to_yaml(config))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, "--config", str(folder / "own.yaml")]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        try:
            log = folder / "log.jsonl"
            while run.poll() is None and not (log.exists() and log.read_text()):
                time.sleep(0.05)
            yield run
        finally:
            run.kill()


def ranks(launcher: int) -> list[int]:
    """The processes that train, first rank first."""
    return sorted(int(x) for x in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split())


def ours(errors: str) -> list[str]:
    """What the run says beside the progress bar."""
    return [line for line in errors.splitlines() if line.startswith(("error", "Traceback", "warning", "RuntimeError"))]


@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_is_one_line_of_the_other(tree, tmp_path, rank):
    with training(tree, tmp_path / "run", OURS) as run:
        pids = ranks(run.pid)
        os.kill(pids[rank], signal.SIGKILL)
        start = time.monotonic()
        while running(pids[1 - rank]) and time.monotonic() < start + 60:
            time.sleep(0.05)
        seconds = time.monotonic() - start
        _, errors = run.communicate(timeout=60)
    (line,) = ours(errors)
    assert line.startswith(f"error: process {rank} of 2 ended")
    assert "--resume auto" in line
    assert run.returncode in (2, 128 + signal.SIGKILL)
    assert seconds < 10
    if rank == 1:
        state = torch.load(tmp_path / "run" / "last.pt", weights_only=True)["training"]
        assert state["draws"] == 2 * state["step"] > 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_to_the_group_is_passed_on_and_all_is_saved(tree, tmp_path, number, code):
    with training(tree, tmp_path / "run", OURS) as run:
        run.send_signal(number)
        output, errors = run.communicate(timeout=120)
    assert run.returncode == code, errors
    assert ours(errors) == []
    assert output.count("and saved; continue with the same command and --resume auto") == 1
    assert (tmp_path / "run" / "last.pt").is_file()


@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")
def test_processes_of_torchrun_end_well_after_sigterm(tree, tmp_path):
    """Also after two: where everything is sent SIGTERM, torchrun passes on another one."""
    with training(tree, tmp_path / "run", TORCHRUN) as run:
        for _ in range(2):
            for pid in ranks(run.pid):
                os.kill(pid, signal.SIGTERM)
        output, errors = run.communicate(timeout=120)
    assert run.returncode == 0, errors
    assert "Traceback" not in errors
    assert output.count("and saved; continue") == 1


def test_who_ended():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        peers = Peers(0, 3, {1: child.pid, 2: os.getpid()})
        assert peers.ended() == []
        calls = []
        peers.when_one_ended(lambda: calls.append(peers.ended()))
        child.kill()
        assert peers.ended_soon() == [1], "although nobody has asked for its exit code"
    limit = time.monotonic() + 10
    while not calls and time.monotonic() < limit:
        time.sleep(0.05)
    assert calls == [[1]]


JOIN = """
from spikevrt.training.distributed import joined_processes
import os, signal
with joined_processes("cpu") as processes:
    if processes.rank == {dying}:
        os.kill(os.getpid(), signal.SIGKILL)
    processes.decide(lambda: 1)
    processes.barrier()
"""


@contextmanager
def joining(script: str, started: tuple[int, ...]) -> Iterator[list[subprocess.Popen[str]]]:
    """Ranks of a group of two, which need no data set."""
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    runs = []
    for rank in started:
        own = (
            os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank), "PYTHONPATH": os.pathsep.join(sys.path)}
        )
        command = [sys.executable, "-c", script]
        runs.append(subprocess.Popen(command, env=own, stderr=subprocess.PIPE, text=True))
    try:
        yield runs
    finally:
        for run in runs:
            run.kill()
            run.communicate()


@pytest.mark.parametrize("dying", [0, 1])
def test_a_process_that_is_killed_before_the_first_step_is_one_line_of_the_other(dying):
    with joining(JOIN.format(dying=dying), (0, 1)) as runs:
        _, errors = runs[1 - dying].communicate(timeout=60)
    assert runs[1 - dying].returncode == 2
    (line,) = [line for line in errors.splitlines() if line]
    assert line.startswith(f"error: process {dying} of 2 ended")


EXHAUSTED = """
import os, torch
from spikevrt.cli import run_command
from spikevrt.train import main
from spikevrt.training import memory_watch, optimiser_step
from tests.training.test_memory_watch import MEMORY

def failing(*_):
    raise torch.OutOfMemoryError("CUDA out of memory")

if os.environ["RANK"] == "1":
    optimiser_step.run_model = failing
memory_watch.step_memory = lambda *_, **__: MEMORY
memory_watch.room_for_tensors = lambda device: 8 * 10**9
run_command(lambda _: main(["--config", {config!r}, "--device", "cpu"]))
"""


def test_a_process_without_memory_answers_and_the_other_names_it(tree, tmp_path):
    config = small_config(tree, f"TRAIN.OUTPUT_DIR={tmp_path / 'run'}", "TRAIN.MAX_STEPS=5", *NO_FLOW)
    (tmp_path / "own.yaml").write_text(config_to_yaml(config))
    with joining(EXHAUSTED.format(config=str(tmp_path / "own.yaml")), (0, 1)) as runs:
        errors = [run.communicate(timeout=120)[1] for run in runs]
    assert [run.returncode for run in runs] == [2, 2]
    (first,), (second,) = map(ours, errors)
    assert first.startswith("error: process 1 of 2 ended")
    assert second.startswith("error: out of GPU memory: there are 8.00 GB for tensors; set TRAIN.MEMORY_BUDGET_GB=8: ")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_process_that_waits_for_one_that_never_comes_hears_signals():
    with joining(JOIN.format(dying=-1), (0,)) as (run,):
        while run.poll() is None and not listens(run.pid):
            time.sleep(0.05)
        time.sleep(0.5)
        run.send_signal(signal.SIGINT)
        assert run.wait(timeout=5) == -signal.SIGINT


def listens(pid: int) -> bool:
    """Whether a process has a socket, as the first of a group has while it waits for the others."""
    return any(os.readlink(link).startswith("socket:") for link in Path(f"/proc/{pid}/fd").iterdir() if link.exists())


@pytest.mark.parametrize("killed", [0, 1])
def test_the_launcher_names_a_process_that_is_killed_before_the_others_know_it(monkeypatch, capsys, killed):
    dies = f"(os.environ['RANK'], os.environ['LOCAL_WORLD_SIZE']) == ('{killed}', '2')"
    body = f"import os, time; os.kill(os.getpid(), 9) if {dies} else time.sleep(60)"
    monkeypatch.setattr(Command, "line", ["-c", body])
    assert call_together(Command("train", ()), 2) == 137
    assert capsys.readouterr().err == f"error: process {killed} of 2 was killed (SIGKILL), perhaps for memory\n"
