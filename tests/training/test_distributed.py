"""Decisions of the first process apply to all processes."""

import subprocess
import sys
from contextlib import nullcontext

import pytest
import torch

from spikevrt.config import load_config
from spikevrt.errors import UserError
from spikevrt.models import Backends
from spikevrt.training import agreed, distributed
from spikevrt.training.distributed import Processes, accumulating, joined_processes
from spikevrt.training.peers import Peers

SCRIPT = """
import sys
from pathlib import Path

from spikevrt.errors import UserError
from spikevrt.training.distributed import joined_processes

def refuse():
    assert processes.first
    raise UserError("no backend is right")

with joined_processes("cpu") as processes:
    assert processes.decide(lambda: f"by {processes.rank}") == "by 0"
    try:
        processes.decide(refuse)
    except UserError as error:
        Path(sys.argv[1], f"{processes.rank}.txt").write_text(str(error))
    try:
        processes.decide(Path(sys.argv[1]).read_text)
    except UserError as error:
        Path(sys.argv[1], f"system{processes.rank}.txt").write_text(str(error))
"""


def test_one_process_decides_by_itself():
    alone = Processes(0, 1, torch.device("cpu"))
    assert alone.decide(lambda: 3) == 3
    with pytest.raises(UserError, match="no"):
        alone.decide(lambda: (_ for _ in ()).throw(UserError("no")))


def test_the_first_process_decides_for_all_and_its_error_is_raised_on_all(tmp_path):
    script = tmp_path / "decide.py"
    script.write_text(SCRIPT)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launcher, str(script), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert [(tmp_path / f"{rank}.txt").read_text() for rank in range(2)] == ["no backend is right"] * 2
    refused = [(tmp_path / f"system{rank}.txt").read_text() for rank in range(2)]
    assert [text.startswith(f"{tmp_path}: Is a directory") for text in refused] == [True] * 2, refused


@pytest.mark.parametrize(("rank", "local", "compiles"), [(0, 0, False), (1, 1, False), (2, 0, True), (3, 1, False)])
def test_kernels_are_compiled_once_on_every_other_machine_and_all_wait(rank, local, compiles, monkeypatch):
    """The first process compiles where it chooses; two machines of two processes."""
    done = []
    taken = Backends("triton", "sdpa")
    monkeypatch.setattr(agreed, "compile_kernels", lambda config, device: done.append("compiled"))
    monkeypatch.setattr(Processes, "decide", lambda processes, make: taken)
    monkeypatch.setattr(distributed.distributed, "barrier", lambda: done.append("waited"))
    processes = Processes(rank, 4, torch.device("cpu"), local)
    assert agreed.agreed_backends(load_config("demo"), processes) == taken
    assert done == ["compiled"] * compiles + ["waited"]
    taken = Backends.of("sdpa")
    agreed.agreed_backends(load_config("demo"), processes)
    assert len(done) == compiles + 1, "there is nothing to compile"


def test_gradients_are_exchanged_by_the_last_micro_batch_only(monkeypatch):
    calls = []

    class Wrapped(torch.nn.Module):
        def no_sync(self):
            calls.append("kept here")
            return nullcontext()

    monkeypatch.setattr(distributed, "DistributedDataParallel", Wrapped)
    with accumulating(Wrapped(), last=True), accumulating(torch.nn.Identity(), last=False):
        assert calls == []
    with accumulating(Wrapped(), last=False):
        assert calls == ["kept here"]


@pytest.mark.parametrize(("lost", "line"), [([], "a process of 4 ended"), ([1, 3], "process 1, 3 of 4 ended")])
def test_an_error_of_a_connection_is_one_line_of_the_first_that_is_left(lost, line, capsys):
    peers = Peers(0, 4, dict.fromkeys(lost, 2**22 + 5))  # Above every number of a process.
    saved: list[str] = []
    with (
        pytest.raises(SystemExit) as ended,
        Processes(0, 4, torch.device("cpu"), 0, peers).surviving(lambda: saved.append("saved")),
    ):
        raise RuntimeError("[/build/gloo/transport/tcp/pair.cc:537] Connection closed by peer")
    assert ended.value.code == 2
    assert saved == ["saved"]
    assert line in capsys.readouterr().err


def test_other_errors_pass_and_others_than_the_first_neither_save_nor_print(capsys):
    peers = Peers(2, 4, {1: 2**22 + 5})
    own = Processes(2, 4, torch.device("cpu"), 2, peers)
    with pytest.raises(SystemExit), own.surviving(pytest.fail):
        raise RuntimeError("gloo")
    assert capsys.readouterr().err == ""
    with pytest.raises(RuntimeError, match="shapes"), Processes(0, 1, torch.device("cpu")).surviving(pytest.fail):
        raise RuntimeError("shapes")


def test_a_process_knows_its_place_on_its_machine(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "3")
    with joined_processes("cpu") as processes:
        assert processes.local == 3


@pytest.mark.parametrize("name", ["cuda", None])
def test_every_process_takes_its_own_gpu(name, monkeypatch):
    """`--device cuda` as nothing at all: what CUDA is given has an index."""
    taken = []
    empty = torch.empty
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "empty", lambda *size, device=None: empty(*size))
    monkeypatch.setattr(
        torch.cuda, "set_device", lambda device: taken.append(torch.cuda._utils._get_device_index(device))
    )
    for local in (0, 1):
        monkeypatch.setenv("LOCAL_RANK", str(local))
        with joined_processes(name) as processes:
            assert processes.device == torch.device("cuda", local)
    assert taken == [0, 1]
