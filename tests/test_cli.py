"""What every command says about bad arguments and files: one line, exit code 2."""

import pytest

from spikevrt.cli import command_parser, positive, positive_number, run_command
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
        (["--crop", "two"], r"argument --crop: invalid positive integer value: 'two'"),
    ],
)
def test_wrong_arguments_are_one_line(arguments, message):
    with pytest.raises(UserError, match=message) as caught:
        parse(*arguments)
    assert "\n" not in str(caught.value)


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
