"""`python -m bench.gpu_report`: are the kernels right and fast on this GPU? Ends within a given number of minutes."""

import argparse
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import torch

from bench.gpu.board import FINDINGS, LOGS, PAGE, Board
from bench.gpu.page import closing
from bench.gpu.setting import Setting
from bench.gpu.stages import Stage, stages
from spikevrt.cli import command_parser, positive_number, run_command
from spikevrt.errors import UserError
from spikevrt_kernels.core.processes import TICK

DESCRIPTION = f"""Check every kernel on this GPU and measure its time; the most important parts run first.

  python -m bench.gpu_report --out report --minutes 8       # from a checkout; nothing to install, no network
  python -m bench.gpu_report --out report --parts check     # one part alone
  python -m bench.gpu_report --out report --dry             # the same on a CPU, with sdpa instead of triton

Every part runs in a process of its own with a time limit, so a part that hangs or crashes stops no other part. Each
finding is printed and appended to {FINDINGS} at once; the output of libraries is in {LOGS}/. {PAGE} is written again
after each part, so an interrupted report is complete up to that point. Exit code 1 if something is wrong or did not
end.
"""
CUT_OFF = 128 + signal.SIGTERM


def make_parser() -> argparse.ArgumentParser:
    """All options with their defaults."""
    parser = command_parser("bench.gpu_report", DESCRIPTION)
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the report goes")
    parser.add_argument("--minutes", type=positive_number, default=8.0, help="time limit of all parts together")
    parser.add_argument(
        "--parts", nargs="+", metavar="NAME", default=[], help="run only these parts, in their usual order"
    )
    parser.add_argument("--dry", action="store_true", help="on the CPU, with tiny shapes: shows that the report runs")
    return parser


def stages_named(found: Sequence[Stage], names: Sequence[str]) -> list[Stage]:
    """The stages of these names; all if there are none.

    Raises:
        UserError: there is no such part.
    """
    known = [stage.name for stage in found]
    for name in names:
        if name not in known:
            raise UserError(f"--parts {name}: there is no such part; use {', '.join(known)}")
    return [stage for stage in found if not names or stage.name in names]


def run(board: Board, found: Sequence[Stage]) -> None:
    """Run the stages in order; wait for those beside the others when a later stage needs them."""
    beside: dict[str, list[threading.Thread]] = {}
    for stage in found:
        join(beside.get(stage.after, []))
        threads = board.start_all(stage.tasks(board.outcomes), stage.workers)
        if stage.beside:
            beside[stage.name] = threads
            continue
        join(threads)
        if stage.needed and not board.outcomes[-1].well:
            board.say("!! the rest would fail the same way")
            return
    join([thread for threads in beside.values() for thread in threads])


def join(threads: Sequence[threading.Thread]) -> None:
    """Wait for all threads; wakes up often, so that signals are handled."""
    for thread in threads:
        while thread.is_alive():
            thread.join(TICK)


@contextmanager
def report(folder: Path, seconds: float, dry: bool) -> Iterator[Board]:
    """A board whose report is completed on every exit, also on SIGTERM."""

    def cut_off(number: int, frame: FrameType | None) -> None:
        raise SystemExit(CUT_OFF)

    before = signal.signal(signal.SIGTERM, cut_off)
    board = Board(folder, seconds, dry)
    try:
        yield board
    finally:
        board.close()
        closing(board.findings, board.elapsed, board.say)
        signal.signal(signal.SIGTERM, before)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the parts, and print a summary; exit code 1 if something is wrong."""
    args = make_parser().parse_args(argv)
    if not args.dry and not torch.cuda.is_available():
        raise UserError(
            "no CUDA device here: run this on a machine with one (nvidia-smi must run, and torch must be a CUDA "
            "build); --dry runs the same on a CPU; make selftest and make bench need no GPU"
        )
    os.environ.pop("TRITON_INTERPRET", None)  # Kernels are compiled in the parts.
    scratch = tempfile.mkdtemp(prefix="spikevrt-report-")
    try:
        found = stages_named(stages(Setting(args.dry), scratch), args.parts)
        with report(args.out, 60 * args.minutes, args.dry) as board:
            run(board, found)
        print(f"written: {args.out / PAGE}, {args.out / FINDINGS}, {args.out / LOGS}")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return int(not all(outcome.well for outcome in board.outcomes))


if __name__ == "__main__":
    run_command(main)
