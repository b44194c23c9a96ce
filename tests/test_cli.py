"""Errors of all commands for bad arguments and files: one line, exit code 2."""

import argparse
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import spikevrt
from spikevrt.__main__ import COMMANDS, command_module
from spikevrt.__main__ import main as spikevrt_main
from spikevrt.cli import (
    add_subcommand,
    add_subcommands,
    command_parser,
    from_arguments,
    positive,
    positive_number,
    run_command,
)
from spikevrt.errors import UserError


def parse(*arguments: str) -> None:
    parser = command_parser("spikevrt.evaluate", "Measure.")
    parser.add_argument("--crop", type=positive)
    parser.add_argument("--fps", type=positive_number)
    parser.parse_args(arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--crip", "3"], r"unrecognized arguments: --crip 3 \(python -m spikevrt\.evaluate --help"),
        (["--crop", "-8"], r"argument --crop: invalid positive integer value: '-8'"),
        (["--crop", "0"], r"argument --crop: invalid positive integer value: '0'"),
        (["--fps", "0"], r"argument --fps: invalid positive number value: '0'"),
        (["--fps", "nan"], r"argument --fps: invalid positive number value: 'nan'"),
        (["--crop", "9" * 30], r"argument --crop: 9{30} must be at least 1 and at most 1000000000"),
        (["--crop", "9" * 5000], r"argument --crop: invalid positive integer value: '999+ \.\.\. 999+' \(python"),
        (["--fps", "1e300"], r"argument --fps: 1e\+300 must be at most 1e\+09"),
        (["--\x1b[31m"], r"unrecognized arguments: --\\x1b\[31m"),
        (["--crop", "two"], r"argument --crop: invalid positive integer value: 'two'"),
    ],
)
def test_wrong_arguments_are_one_line(arguments, message):
    with pytest.raises(UserError, match=message) as caught:
        parse(*arguments)
    assert "\n" not in str(caught.value)


@dataclass
class Camera:
    theta: float
    seed: int
    flip: bool


def test_a_record_is_built_from_arguments_of_its_names():
    args = argparse.Namespace(theta=2.0, seed=3, out="x", flip=False)
    assert from_arguments(Camera, args) == Camera(theta=2.0, seed=3, flip=False)
    assert from_arguments(Camera, args, flip=True, seed=4) == Camera(theta=2.0, seed=4, flip=True)


def test_a_subcommand_names_its_own_help():
    parser = command_parser("spikevrt.prepare", "Make.")
    add_subcommand(add_subcommands(parser), "check", "look", "Look.").add_argument("root")
    assert parser.parse_args(["check", "data"]) == argparse.Namespace(command="check", root="data")
    with pytest.raises(UserError, match=r"arguments: --out x \(python -m spikevrt\.prepare check --help"):
        parser.parse_args(["check", "data", "--out", "x"])
    with pytest.raises(UserError, match=r"required: COMMAND \(python -m spikevrt\.prepare --help"):
        parser.parse_args([])


def failing(error: BaseException):
    def main(argv):
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("x.dat: cut short"), 2, "error: x.dat: cut short\n"),
        (PermissionError(13, "Permission denied", "/out/a.png"), 2, "error: /out/a.png: Permission denied; check"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_errors_are_one_line_and_a_code(error, code, line, capsys):
    with pytest.raises(SystemExit) as caught:
        run_command(failing(error))
    assert caught.value.code == code
    written = capsys.readouterr().err
    assert written.startswith(line)
    assert written.count("\n") == 1


def test_other_failures_keep_their_traceback():
    with pytest.raises(ZeroDivisionError):
        run_command(failing(ZeroDivisionError()))


def test_success_is_zero():
    with pytest.raises(SystemExit) as caught:
        run_command(lambda argv: None)
    assert caught.value.code == 0


def test_the_list_has_every_command_and_readme_shows_each():
    folder = Path(spikevrt.__file__).parent
    files = [*folder.glob("[!_]*.py"), *folder.glob("*/__main__.py")]
    typed = {path.stem if path.parent == folder else path.parent.name: path.read_text() for path in files}
    commands = {name for name, text in typed.items() if "run_command(main)" in text}
    assert set(COMMANDS) == commands
    shown = set(re.findall(r"spikevrt[. ](\w+)", (folder.parent / "README.md").read_text()))
    assert commands <= shown


def test_the_list_is_printed_without_heavy_imports():
    code = "import sys, spikevrt.__main__ as m; m.main([]); print([x for x in ('torch', 'numba') if x in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd())
    *listed, heavy = done.stdout.splitlines()
    assert heavy == "[]"
    assert all(any(line.startswith(f"  {name} ") for line in listed) for name in COMMANDS)


def test_no_help_imports_what_is_heavy():
    code = (
        "import sys; from spikevrt.__main__ import COMMANDS, command_module\n"
        "for name in COMMANDS:\n"
        "    try: command_module(name).main(['--help'])\n"
        "    except SystemExit as end:\n"
        "        print('ended:', name, end.code, *sys.modules.keys() & {'torch', 'numba', 'triton'})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd())
    said = [line for line in done.stdout.splitlines() if line.startswith("ended: ")]
    assert said == [f"ended: {name} 0" for name in COMMANDS]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_reached_with_what_follows_it(name, monkeypatch):
    seen = []
    monkeypatch.setattr(command_module(name), "main", seen.append)
    assert spikevrt_main([name, "--out", "x"]) == 0
    assert seen == [["--out", "x"]]


def test_an_unknown_command_is_one_line_with_the_nearest(capsys):
    with pytest.raises(UserError, match=r"^spikevrt deblurr: there is no such command; did you mean deblur\?$"):
        spikevrt_main(["deblurr"])
    with pytest.raises(UserError, match="use one of demo, prepare, "):
        spikevrt_main(["x"])
    assert spikevrt_main(["--version"]) == 0
    assert capsys.readouterr().out == f"spikevrt {spikevrt.__version__}\n"


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=str,
)
def test_a_terminal_without_the_characters_shows_them_escaped(environment, tmp_path):
    path = tmp_path / "größe 数.yaml"
    path.write_text("DATA: {ROOT: /größe/数, VAL_SPLIT: größe 数}\n", encoding="utf-8")
    command = [sys.executable, "-m", "spikevrt.config", "DATA", "--config", str(path), "--opts", "DATA.TRAIN_SPLIT=数"]
    done = subprocess.run(command, capture_output=True, check=False, cwd=Path.cwd(), env=os.environ | environment)
    assert done.returncode == 0, done.stderr
    assert rb"VAL_SPLIT = gr" in done.stdout
    command[-1] = "DATA.数=1"
    done = subprocess.run(command, capture_output=True, check=False, cwd=Path.cwd(), env=os.environ | environment)
    assert done.returncode == 2
    assert b"unknown configuration key" in done.stderr
    assert b"Traceback" not in done.stderr
