"""Commands side by side: they run at the same time, a failure stops the others, and after Ctrl-C all of them save."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from spikevrt.system.subprocesses import Command, call

SLOW_TO_SAVE = """
import signal, sys, time
from pathlib import Path
here = Path(sys.argv[1])
def save(*_):
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second Ctrl-C would end it at once
    time.sleep(1)
    here.with_suffix(".saved").touch()
    sys.exit(130)
signal.signal(signal.SIGINT, save)
here.touch()
time.sleep(60)
"""


class Script(Command):
    """Python code in place of a module."""

    @property
    def line(self) -> list[str]:
        """What follows `python`."""
        return ["-c", self.module, *map(str, self.arguments)]


def wait_for(*paths: Path) -> None:
    """Until all exist."""
    end = time.monotonic() + 60
    while not all(path.exists() for path in paths):
        assert time.monotonic() < end, paths
        time.sleep(0.05)


def test_two_commands_run_at_once_with_half_of_the_cores_each(tmp_path, capfd):
    meet = (
        "import os, sys, time; from pathlib import Path; own, other = map(Path, sys.argv[1:]); own.touch()\n"
        "while not other.exists(): time.sleep(0.05)\n"
        "print('met with', os.environ['OMP_NUM_THREADS'])"
    )
    a, b, log = tmp_path / "a", tmp_path / "b", tmp_path / "a.log"
    call(Script(meet, (a, b), log), Script(meet, (b, a)))
    threads = max(1, len(os.sched_getaffinity(0)) // 2)
    assert log.read_text() == f"met with {threads}\n"
    shown = capfd.readouterr().out
    assert shown.count(f"$ OMP_NUM_THREADS={threads} python -c") == 2
    assert shown.count(f"> {log} 2>&1 &") == 1
    assert shown.endswith(f"\nmet with {threads}\n")


def test_a_command_alone_keeps_its_environment(capfd):
    call(Command("plan", ("--help",)))
    shown = capfd.readouterr().out
    assert shown.startswith("\n$ python -m spikevrt.plan --help\nusage: python -m spikevrt.plan")


def test_a_failure_shows_its_last_line_and_interrupts_the_other(tmp_path, capfd):
    running, log = tmp_path / "running", tmp_path / "failed.log"
    fail = (
        "import sys, time; from pathlib import Path\n"
        "while not Path(sys.argv[1]).exists(): time.sleep(0.05)\n"
        "print('work'); sys.exit('error: no data')"
    )
    with pytest.raises(SystemExit) as left:
        call(Script(fail, (running,), log), Script(SLOW_TO_SAVE, (running,)))
    assert left.value.code == 1
    assert capfd.readouterr().err == "error: no data\n"
    assert running.with_suffix(".saved").exists()


@pytest.fixture
def two(tmp_path):
    """A process that calls two slow commands, which run; and the files that they make when they have saved."""
    paths = tmp_path / "a", tmp_path / "b"
    both = (
        "import sys; sys.path.insert(0, sys.argv[1]); from test_subprocesses import SLOW_TO_SAVE, Script, call\n"
        "call(*(Script(SLOW_TO_SAVE, (path,)) for path in sys.argv[2:]))"
    )
    line = [sys.executable, "-c", both, str(Path(__file__).parent), *map(str, paths)]
    process = subprocess.Popen(line, start_new_session=True)
    try:
        wait_for(*paths)
        yield process, [path.with_suffix(".saved") for path in paths]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def children(pid: int) -> list[int]:
    """Processes that one has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_ctrl_c_in_a_terminal_lets_both_save(two):
    process, saved = two
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert all(path.exists() for path in saved)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_caller_alone_lets_both_save(two, number):
    process, saved = two
    process.send_signal(number)
    assert process.wait(timeout=60) == 130
    assert all(path.exists() for path in saved)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_signal_to_one_of_them_ends_all_and_what_can_save_saves(two, number):
    process, saved = two
    os.kill(children(process.pid)[0], number)
    assert process.wait(timeout=60) == (130 if number == signal.SIGINT else 137)
    assert saved[1].exists()
    assert saved[0].exists() == (number == signal.SIGINT)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has ended")
def test_both_save_where_the_caller_is_killed(two):
    process, saved = two
    process.kill()
    wait_for(*saved)


def test_a_second_signal_ends_them_at_once(two):
    process, saved = two
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) != 0
    assert not any(path.exists() for path in saved)


def test_a_signal_that_comes_as_the_last_one_ends_well_stops_the_caller():
    with pytest.raises(SystemExit) as left:
        call(
            Script(
                "import os, signal; os.kill(os.getppid(), signal.SIGTERM)",
                (),
            )
        )
    assert left.value.code == 130
