"""What every command shares: arguments, one-line errors, exit codes."""

import argparse
import io
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

from spikevrt.config import ATTN_BACKENDS, Config, load_config, preset_names
from spikevrt.errors import EXIT_INTERRUPTED, EXIT_USER_ERROR, MESSAGE_LENGTH, UserError, one_line, quoted, shown
from spikevrt.system.failures import memory_line, system_line
from spikevrt.system.process import (
    EndingSignal,
    ending_in_order,
    give_up_broken_streams,
    open_closed_streams,
)

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Subcommands = argparse._SubParsersAction["Subcommand"]

Record = TypeVar("Record", bound="DataclassInstance")


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows defaults other than None, false and empty lists, and keeps the line breaks of descriptions."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        silent = action.default in (None, False, []) or "(default" in (action.help or "")
        return action.help if silent else super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """An argument parser that reports bad arguments as one `UserError` line."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} ({self.prog} --help lists all options)")


class Subcommand(Parser):
    """A parser that refuses unknown arguments itself, so that the message names the sub-command's own `--help`."""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return parsed, unknown


def command_parser(module: str, description: str) -> Parser:
    """A parser whose `--help` names the command as it is typed."""
    return Parser(prog=f"python -m {module}", description=description, formatter_class=HelpFormatter)


def add_subcommands(parser: Parser) -> "Subcommands":
    """Give `parser` sub-commands; the name of the chosen one becomes the argument `command`."""
    return parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", title="commands", parser_class=Subcommand
    )


def add_subcommand(commands: "Subcommands", name: str, summary: str, description: str) -> Parser:
    """Add the parser of one sub-command; `summary` is its line in the list of all sub-commands."""
    return commands.add_parser(name, help=summary, description=description, formatter_class=HelpFormatter)


MOST = 10**9
"""Largest count and measure that an option takes, unless it says otherwise."""


def whole(least: int = 1, most: int = MOST, why: str = "") -> Callable[[str], int]:
    """A parser of an option's integer from `least` (0 or more) to `most`; `why` ends the message of a refusal."""

    def parse(text: str) -> int:
        value = int(text)
        if value < min(1, least):
            raise ValueError
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{quoted(value)} must be at least {least} and at most {most}{why}")
        return value

    # argparse prints this name in its messages.
    parse.__name__ = "positive integer" if least else "whole number"
    return parse


def measure(most: float = MOST, least: float = 0) -> Callable[[str], float]:
    """A parser of an option's finite number above 0, from `least` up to `most`."""

    def parse(text: str) -> float:
        value = float(text)
        if not 0 < value < math.inf:
            raise ValueError
        if not least <= value <= most:
            bound = f"at most {most:g}" if value > most else f"at least {least:g}"
            raise argparse.ArgumentTypeError(f"{value:g} must be {bound}")
        return value

    parse.__name__ = "positive number"
    return parse


positive, positive_number = whole(), measure()
frame_rate = measure(1000, 0.001)
"""Frames a second of a video, within what all containers hold."""


def home_path(text: str) -> str:
    """Parse a path that a shell has left alone, as in `NAME=~/x` or within quotes: `~` is the home folder."""
    if not text:
        raise argparse.ArgumentTypeError("an empty text names no file or folder")
    return os.path.expanduser(text)


def path(text: str) -> Path:
    """Parse the path of a file or a folder."""
    return Path(home_path(text))


def file_to_write(text: str) -> Path:
    """Parse the path of a file to write, which is refused early if it names a folder."""
    file = path(text)
    if text.endswith(os.sep) or file.is_dir() or not file.name:
        raise argparse.ArgumentTypeError(f"{quoted(text)} is a folder; name a file in it")
    return file


def require_unread(option: str, out: Path, inputs: Iterable[Path | None]) -> None:
    """Raise a `UserError` if what a command writes would take the place of something that it reads."""
    for read in inputs:
        if read is not None and read.exists() and out.exists() and out.samefile(read):
            raise UserError(
                f"{option} {shown(str(out))}: is an input, which would be lost; name another file or folder"
            )


VIDEOS = (".mp4", ".mkv", ".mov", ".avi")
"""Endings by which the `--out` of a command that writes frames names a video; others name a folder of PNGs."""


def is_video(out: Path) -> bool:
    """Whether `--out` names a video, by its ending."""
    return out.suffix.lower() in VIDEOS


def names_video(out: Path, overwrite: bool) -> bool:
    """Whether `--out` names a video.

    Raises:
        UserError: there are results already which `--overwrite` does not allow to replace, or a file is in the way of
            a folder.
    """
    video = is_video(out)
    if not video and out.is_file():
        raise UserError(f"{out}: is a file; --out names a folder, or a video ({', '.join(VIDEOS)})")
    taken = out.exists() if video else out.is_dir() and pngs_in(out) > 0
    if taken and not overwrite:
        raise UserError(f"{out}: holds results already; name another --out, or give --overwrite")
    return video


def pngs_in(folder: Path) -> int:
    """How many PNGs a folder holds, without those of systems and killed commands, whose names begin with a dot."""
    return sum(1 for _ in folder.glob("[!.]*.png"))


def add_config_arguments(
    parser: argparse.ArgumentParser, default: str | None = "default", backend: bool = True
) -> None:
    """`--config`, `--opts` and (unless `backend` is false) `--attn-backend`, for commands that build a model."""
    parser.add_argument(
        "--config",
        type=home_path,
        default=default,
        metavar="NAME|PATH",
        help=f"a preset ({', '.join(preset_names())}) or a YAML file",
    )
    parser.add_argument(
        "--opts",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="configuration keys to override, for example TRAIN.LR=5e-5 DATA.ROOT=/data/gopro",
    )
    if not backend:
        return
    parser.add_argument(
        "--attn-backend",
        choices=ATTN_BACKENDS,
        default=None,
        help="how attention and what is around it are computed; sets MODEL.ATTN_BACKEND",
    )


def add_tiles(parser: argparse.ArgumentParser) -> None:
    """`--tile` and `--tile-overlap`, for commands that restore frames of any size."""
    parser.add_argument(
        "--tile",
        metavar="N|auto|none",
        help="restore frames in tiles of at most N x N pixels, of which memory depends (TEST.TILE_SIZE; default: auto, "
        "whole frames if memory allows, else the largest tiles that fit; none: whole frames)",
    )
    parser.add_argument(
        "--tile-overlap", metavar="N", help="pixels that neighbouring tiles share (TEST.TILE_OVERLAP; default: 64)"
    )


def tile_options(args: argparse.Namespace) -> list[str]:
    """What `add_tiles` added, as options of the configuration."""
    keys = {"TEST.TILE_SIZE": args.tile, "TEST.TILE_OVERLAP": args.tile_overlap}
    return [f"{key}={value}" for key, value in keys.items() if value is not None]


def add_prove_again(parser: argparse.ArgumentParser) -> None:
    """`--prove-again`, for commands that choose attention backends on a device."""
    parser.add_argument(
        "--prove-again",
        action="store_true",
        help="on CUDA: try all attention backends again instead of using the choice stored on this machine",
    )


def from_arguments(kind: type[Record], args: argparse.Namespace, **others: object) -> Record:
    """Build a dataclass from the arguments that have its fields' names; `others` gives the remaining fields."""
    parsed = {field.name: getattr(args, field.name) for field in fields(kind) if field.name not in others}
    return kind(**parsed, **others)


def config_from_arguments(args: argparse.Namespace) -> Config:
    """The configuration from the options that `add_config_arguments` adds."""
    return load_config(args.config, config_options(args))


def config_options(args: argparse.Namespace) -> list[str]:
    """The values of `--opts`, followed by `--attn-backend`, which therefore wins."""
    backend = [f"MODEL.ATTN_BACKEND={args.attn_backend}"] if args.attn_backend else []
    return [*args.opts, *backend]


def print_anything() -> None:
    """Let stdout and stderr escape the characters that a terminal's encoding does not have, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def run_command(main: Callable[[Sequence[str] | None], int | None]) -> None:
    """Run `main` and exit with its code.

    A `UserError`, an error of the system (a file that cannot be read or written) and a lack of memory print one line on
    stderr and exit with code 2. Ctrl-C, SIGTERM and SIGHUP end the command in order, with 128 + the signal's number.
    """
    warnings.formatwarning = lambda message, *_, **__: f"warning: {one_line(str(message))}\n"
    open_closed_streams()
    print_anything()
    code = EXIT_USER_ERROR
    try:
        with ending_in_order():
            code = main(None) or 0
            sys.stdout.flush()
    except UserError as error:
        say(f"error: {error}")
    except EndingSignal as error:
        say(str(error))
        code = error.code
    except KeyboardInterrupt:
        say("interrupted")
        code = EXIT_INTERRUPTED
    except BrokenPipeError:  # Whoever reads the output has seen enough.
        code = 0
    except OSError as error:
        # Files are named where they are written; what is left is the output that was led into a file.
        say(f"error: {system_line(error, error.filename or 'output')}")
    except (MemoryError, RuntimeError) as error:
        line = memory_line(error)
        if line is None:
            raise
        say(f"error: {line}")
    finally:
        give_up_broken_streams()
    raise SystemExit(code)


def say(line: str) -> None:
    """Print a line on stderr if that is possible."""
    with suppress(OSError):
        print(one_line(line, MESSAGE_LENGTH + len("error: ")), file=sys.stderr, flush=True)
