"""Jobs in separate processes: results arrive as they are made, and failures do not affect this process."""

import os
import signal
import threading
import time

import pytest

from spikevrt_kernels.core import processes
from spikevrt_kernels.core.processes import Job, Running, run_job, run_jobs
from tests.kernels.core import jobs

PATIENCE = 20.0
"""A machine under load starts Python late."""


def test_rows_arrive_in_order_and_a_good_end_has_no_reason():
    told = []
    (ending,) = run_jobs([Job("count", jobs.count, (3,))], note=lambda job, row: told.append((job.name, row)))
    assert ending.rows == [0, 1, 2]
    assert told == [("count", 0), ("count", 1), ("count", 2)]
    assert ending.reason is None


@pytest.mark.parametrize(
    ("function", "arguments", "reason"),
    [
        (jobs.exits, (3,), "ends with code 3: the last words"),
        (jobs.raises, (), "ends with code 1: ValueError: no such thing"),
        (jobs.raises_and_advises, (), "ends with code 1: RuntimeError: CUDA error: an illegal memory access"),
        (jobs.crashes, (), "crashes (SIGABRT)"),
    ],
    ids=["exits", "raises", "raises and advises", "crashes"],
)
def test_what_a_process_found_before_its_end_is_kept(function, arguments, reason):
    (ending,) = run_jobs([Job("one", function, arguments)])
    assert ending.rows == ["before"]
    assert ending.reason == reason


def test_a_row_that_cannot_travel_is_an_end_with_its_reason():
    (ending,) = run_jobs([Job("one", jobs.unpicklable)])
    assert ending.rows == []
    assert ending.reason is not None


def test_one_that_sleeps_for_ever_costs_itself_and_all_that_it_started(tmp_path):
    sleeper = Job("sleeper", jobs.sleeps, (tmp_path,), patience=4.0)
    found = run_jobs([sleeper, Job("count", jobs.count, (2,))], workers=2)
    assert [e.rows for e in found] == [["before"], [0, 1]]
    assert found[0].reason == "gave no answer within 4 s"
    assert found[1].reason is None
    assert gone(int((tmp_path / "child").read_text()))


def test_the_limit_counts_the_whole():
    (ending,) = run_jobs([Job("sleeper", jobs.sleeps, limit=6.0)])
    assert ending.reason == "gave no answer within 6 s"
    assert 5.5 < ending.seconds < PATIENCE


def test_each_has_a_process_of_its_own_with_this_ones_environment(monkeypatch):
    monkeypatch.setenv("SPIKEVRT_FOR_THE_CHILD", "here")
    found = run_jobs([Job("a", jobs.environment), Job("b", jobs.environment)], workers=2)
    pids = {ending.rows[0] for ending in found}
    assert len(pids | {os.getpid()}) == 3
    assert all(ending.rows[1] == "here" for ending in found)


def test_all_end_where_this_one_is_interrupted():
    def interrupted(job, row):
        raise KeyboardInterrupt

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_jobs([Job("sleeper", jobs.sleeps), Job("count", jobs.count, (1,))], workers=2, note=interrupted)
    assert time.monotonic() - start < PATIENCE
    running = Running()
    running.end()
    assert run_job(Job("late", jobs.sleeps), running, lambda job, row: None).reason == "crashes (SIGKILL)"


def test_a_signal_that_another_thread_takes_is_heeded():
    """A thread that starts a process may take Ctrl-C from the main thread, which is then not woken."""

    def takes(job, row):
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_jobs([Job("sleeper", jobs.sleeps, limit=2 * PATIENCE)], note=takes)
    assert time.monotonic() - start < PATIENCE


def test_a_process_whose_parent_is_gone_ends_by_its_alarm(monkeypatch):
    monkeypatch.setattr(processes, "GRACE", 1)
    monkeypatch.setattr(processes, "START", 0)
    seen = []
    monkeypatch.setattr(processes.signal, "alarm", seen.append)
    processes.set_alarm(Job("one", jobs.count, limit=600.0, patience=9.5), time.monotonic())
    processes.set_alarm(Job("one", jobs.count, limit=10.0), time.monotonic() - 8)
    processes.set_alarm(Job("one", jobs.count), time.monotonic())
    assert seen == [10, 2], "a second after the limit, or after patience and start"


def gone(pid):
    """Whether a process ends within some seconds (its entry may stay until its parent asks for it)."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] in "ZX":
                    return True
        except OSError:
            return True
        time.sleep(0.05)
    return False
