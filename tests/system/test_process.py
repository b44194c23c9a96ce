"""How commands end: by signals, with closed, broken or full output, and without memory."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from spikevrt.cli import run_command
from spikevrt.system.failures import memory_line
from spikevrt.system.process import STOPPING, handled

PLAN = [sys.executable, "-m", "spikevrt", "config"]


def shell(line: str) -> "subprocess.CompletedProcess[str]":
    """Runs `plan` ("$@") in a shell."""
    return subprocess.run(["sh", "-c", line, "sh", *PLAN], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ('"$@" | head -1 > /dev/null', 0, ""),
        ('"$@" >&-', 0, ""),
        ('"$@" >&- 2>&-', 0, ""),
        ('"$@" --opts X=1 2> /dev/full', 2, ""),
        ('"$@" > /dev/full', 2, "error: output: No space left on device; free space there, or write to another disk\n"),
    ],
)
def test_output_that_is_closed_broken_or_full_is_no_traceback(line, code, said):
    done = shell(line)
    assert (done.returncode, done.stderr) == (code, said)


def test_a_file_never_takes_the_place_of_a_closed_stream(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from spikevrt.cli import run_command\n"
        "def main(argv):\n"
        "    with open(sys.argv[1], 'wb') as file:\n"
        "        os.write(2, b'a warning of a library'); file.write(b'data')\n"
        "run_command(main)\n"
    )
    path = tmp_path / "file"
    subprocess.run(["sh", "-c", '"$@" 2>&-', "sh", sys.executable, "-c", code, path], check=True)
    assert path.read_bytes() == b"data"


SLOW = (
    "import signal, sys, time; from pathlib import Path; from spikevrt.cli import run_command\n"
    # Tests may run in the background, where a shell lets signals be ignored.
    "signal.signal(signal.SIGINT, signal.default_int_handler); signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
    "from spikevrt.data.files.atomic import new_folder, replacing\n"
    "def main(argv):\n"
    "    with new_folder(Path(sys.argv[1], 'clip')) as a, replacing(Path(sys.argv[1], 'last.pt')):\n"
    "        (a / 'half').touch(); print('ready', flush=True); time.sleep(60)\n"
    "run_command(main)\n"
)


def test_what_nohup_ignores_stays_ignored():
    taken = []
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with handled(STOPPING, lambda number, frame: taken.append(number)):
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert taken == [signal.SIGTERM]


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGINT, "interrupted"),
        (signal.SIGTERM, "ended by SIGTERM"),
        (signal.SIGHUP, "ended by SIGHUP"),
    ],
)
def test_a_signal_ends_a_command_in_order(number, said, tmp_path):
    process = subprocess.Popen([sys.executable, "-c", SLOW, tmp_path], stdout=-1, stderr=-1, text=True)
    with process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.stderr.read() == f"{said}\n"
    assert process.returncode == 128 + number
    assert list(tmp_path.iterdir()) == []


def test_a_signal_that_is_ignored_stays_so_and_the_handlers_come_back():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    seen = []

    def main(argv):
        os.kill(os.getpid(), signal.SIGHUP)
        seen.append(signal.getsignal(signal.SIGTERM))

    try:
        with pytest.raises(SystemExit) as left:
            run_command(main)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert left.value.code == 0
    assert callable(seen[0])
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def no_memory(argv):
    np.empty(2**60, np.uint8)


def no_tensor(argv):
    import torch

    torch.empty(2**60, dtype=torch.uint8)


@pytest.mark.parametrize("main", [no_memory, no_tensor])
def test_memory_that_runs_out_is_one_line(main, capsys):
    with pytest.raises(SystemExit) as left:
        run_command(main)
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: out of memory")
    assert said.count("\n") == 1
    assert memory_line(ValueError()) is None


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(28, "No space left on device"), "error: output: No space left on device; free space there"),
        (OSError("1000 requested and 0 written"), "error: output: 1000 requested and 0 written; check the path"),
        (IsADirectoryError(21, "Is a directory", "/a"), "error: /a: Is a directory; remove this folder"),
    ],
)
def test_errors_of_the_system_are_one_line(error, line, capsys):
    def main(argv):
        raise error

    with pytest.raises(SystemExit) as left:
        run_command(main)
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(line)
    assert said.count("\n") == 1


NO_CACHE = (
    "import os, sys, resource; from pathlib import Path\n"
    "import numpy as np; from spikevrt_kernels.core.numba_jit import compiled\n"
    "resource.setrlimit(resource.RLIMIT_FSIZE, (16, 16))\n"
    "sys.path.insert(0, sys.argv[1]); import kernel; print(kernel.twice(np.ones(2))[0])\n"
)


def test_a_full_disk_under_numbas_cache_stops_nothing(tmp_path):
    (tmp_path / "kernel.py").write_text(
        "from spikevrt_kernels.core.numba_jit import compiled\n@compiled()\ndef twice(x):\n    return 2 * x\n"
    )
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", NO_CACHE, tmp_path], capture_output=True, text=True, env=environment, timeout=120
    )
    assert done.stdout == "2.0\n", done.stderr
    assert not [path for path in Path(tmp_path, "cache").rglob("*") if path.is_file()]
