"""Workers that load batches: their number fits shared memory, their death is one line, Ctrl-C does not reach them."""

import os
import signal
import subprocess
import sys
import warnings

import pytest
import torch
from torch.utils.data._utils import signal_handling

from spikevrt.data.clips import loading
from spikevrt.data.clips.batches import next_batch
from spikevrt.data.clips.dataset import ClipDataset
from spikevrt.data.clips.loading import failure_line, lost_line, plan_workers
from spikevrt.errors import UserError
from spikevrt.system.memory import memory_advice
from spikevrt.training.validation import load
from tests.small_data import small_config

CPU = torch.device("cpu")
SAMPLE = 2 * 12288 + 2 * 4096
"""Bytes of a sample in pages: `blur` and `sharp` (2,3,40,40), `counts` (2,4,20,20), `bin_frames` (2,4)."""


@pytest.fixture
def data(tree):
    return ClipDataset(small_config(tree).data, "train", True, True, crop=40)


@pytest.mark.parametrize(
    ("batches", "planned"),
    [(100, (4, 2)), (10, (4, 2)), (9, (4, 1)), (6, (4, 1)), (4, (2, 1)), (2, (0, 1)), (0, (0, 1))],
)
def test_workers_fit_shared_memory(data, batches, planned, monkeypatch):
    monkeypatch.setattr(loading, "free_shared_memory", lambda: (batches + 0.5) * SAMPLE / loading.SPARE)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert plan_workers(data, 1, 4) == planned
    assert len(said) == (planned != (4, 2))
    for line in map(str, (warning.message for warning in said)):
        assert f"going on with {planned[0]}" in line
        assert "--shm-size" in line
        assert "\n" not in line


@pytest.mark.parametrize("size", ["64k", "64m"])
def test_a_small_dev_shm_is_no_end_and_no_wait(tree, size):
    code = (
        "import sys, torch; from dataclasses import replace; from spikevrt.data.clips.dataset import ClipDataset\n"
        "from spikevrt.training.validation import load; from tests.small_data import small_config\n"
        "data = replace(small_config(sys.argv[1]).data, ram_cache_gb=1.0)\n"
        "kept = ClipDataset(data, 'train', True, True, crop=40)\n"
        "read = sum(len(batch['blur']) for batch in load(kept, torch.device('cpu'), workers=2))\n"
        "print(read, len(kept), kept.ram.used)\n"
    )
    mount = ["unshare", "-m", "sh", "-c", f'mount -t tmpfs -o size={size} none /dev/shm && exec "$@"', "sh"]
    if subprocess.run([*mount, "true"], capture_output=True, check=False).returncode:
        pytest.skip("mounting a small /dev/shm needs the rights of root")
    done = subprocess.run([*mount, sys.executable, "-c", code, tree], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    read, samples, kept = map(int, done.stdout.split())
    assert read == samples
    assert kept > 0
    assert ("going on with 0" in done.stderr) == (size == "64k")


@pytest.fixture
def alone():
    """What other tests have set for the death of a child does not reach this one."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGCHLD, before)


@pytest.mark.usefixtures("alone")
def test_workers_that_were_started_elsewhere_leave_no_handler(data, monkeypatch):
    monkeypatch.setattr(signal_handling, "_SIGCHLD_handler_set", False)
    signal_handling._set_SIGCHLD_handler()
    assert callable(signal.getsignal(signal.SIGCHLD))
    next_batch(iter(load(data, CPU, workers=1)))
    assert signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize(("number", "cause"), [(signal.SIGKILL, "was killed"), (signal.SIGSEGV, "has crashed")])
def test_the_death_of_a_worker_is_one_line(data, number, cause, capfd):
    handler = signal.getsignal(signal.SIGCHLD)
    batches = iter(load(data, CPU, workers=2))
    assert signal.getsignal(signal.SIGCHLD) == handler, "a death interrupts no step"
    next_batch(batches)
    for worker in batches._batches._workers:
        os.kill(worker.pid, number)
    with pytest.raises(UserError, match=rf"^a worker that loads samples {cause}.*lower TRAIN.NUM_WORKERS") as caught:
        list(batches)
    assert "\n" not in str(caught.value)


def test_workers_do_not_hear_the_terminal(data):
    batches = iter(load(data, CPU, workers=2))
    for worker in batches._batches._workers:
        for number in (signal.SIGINT, signal.SIGHUP):
            os.kill(worker.pid, number)
    assert sum(len(batch["stems"]) for batch in batches) == len(data)


def fail(data, error):
    class Failing(torch.utils.data.Dataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            raise error

    return Failing()


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("a.dat: cut short; copy it again"), r"^a\.dat: cut short; copy it again$"),
        (OSError(5, "Input/output error", "/d/a.dat"), r"^/d/a\.dat: Input/output error; check the disk"),
        (OSError(24, "Too many open files"), r"ulimit -n"),
        (MemoryError(), r"^out of memory; .*TRAIN\.NUM_WORKERS"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 8 bytes"), r"^out of memory; "),
    ],
)
def test_an_error_of_the_machine_is_the_same_line_from_a_worker(data, workers, error, line, monkeypatch):
    monkeypatch.setattr(loading, "batch_bytes", lambda *_: 1)
    with pytest.raises(UserError, match=line) as caught:
        next_batch(iter(load(fail(data, error), CPU, workers=workers)))
    assert "\n" not in str(caught.value)


def test_an_error_of_ours_keeps_its_traceback(data, monkeypatch):
    monkeypatch.setattr(loading, "batch_bytes", lambda *_: 1)
    with pytest.raises(ZeroDivisionError, match="Traceback"):
        next_batch(iter(load(fail(data, ZeroDivisionError()), CPU, workers=1)))
    assert failure_line(RuntimeError("shapes differ")) is None


def test_shared_memory_that_stays_full_is_one_line(monkeypatch):
    monkeypatch.setattr(loading, "PATIENCE", 0.0)

    def full(x):
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    with pytest.raises(UserError, match=r"^/dev/shm: no shared memory for 4\.00 MB .*No space.*TRAIN\.NUM_WORKERS=0"):
        loading.share(torch.zeros(10**6))


def test_workers_that_cannot_start_are_one_line(data, monkeypatch):
    def refuse(self):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("torch.utils.data.DataLoader.__iter__", refuse)
    with pytest.raises(UserError, match=r"^TRAIN\.NUM_WORKERS 2: they cannot be started \(Resource temp"):
        iter(load(data, CPU, workers=2))


def test_a_batch_that_cannot_be_sent_is_one_line_and_no_wait(data, monkeypatch):
    def full():
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("multiprocessing.util.get_temp_dir", full)
    with pytest.raises(UserError, match=r"^a worker that loads samples could not send its batch .*TMPDIR"):
        list(load(data, CPU, workers=1))


def test_the_first_death_is_told():
    assert "SIGSEGV" in lost_line([None, -11])
    assert "code 3" in lost_line([3, None])
    assert "ended early; lower" in lost_line([None, None])


def test_memory_that_runs_out_in_a_step_is_one_line():
    with pytest.raises(UserError, match=r"^out of memory; change DATA"), memory_advice("DATA"):
        raise MemoryError


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_workers_of_any_start_method_survive_ctrl_c_while_they_start(tree, method, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import multiprocessing, os, signal, sys, torch; from dataclasses import replace\n"
        "from spikevrt.data.clips.dataset import ClipDataset\n"
        "from spikevrt.training.validation import load; from tests.small_data import small_config\n"
        "if __name__ == '__main__':\n"
        "    multiprocessing.set_start_method(sys.argv[2])\n"
        "    signal.signal(signal.SIGINT, lambda *_: print('asked to stop'))\n"
        "    data = replace(small_config(sys.argv[1]).data, ram_cache_gb=1.0)\n"
        "    kept = ClipDataset(data, 'train', True, True, crop=40)\n"
        "    batches = iter(load(kept, torch.device('cpu'), workers=1))\n"
        "    os.killpg(0, signal.SIGINT)\n"
        "    print(sum(len(batch['blur']) for batch in batches), len(kept), kept.ram.used > 0)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, script, tree, method]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, start_new_session=True, env=environment, check=False
    )
    assert done.stderr == ""
    assert done.stdout == "asked to stop\n10 10 True\n"
