"""`python -m bench.kernels_report`: registers, memory and traffic of every Triton kernel, found without a GPU."""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from bench.without_gpu.page import page
from bench.without_gpu.traffic import bound_cells, traffic_along_time, traffic_around, traffic_in_windows
from spikevrt.cli import command_parser, run_command
from spikevrt.data.files.atomic import replacing
from spikevrt.errors import UserError
from spikevrt_kernels.core.launch import interpreted
from spikevrt_kernels.core.processes import cores
from spikevrt_kernels.proof.compile_all import Cell, Results, cells, compile_side_by_side
from spikevrt_kernels.registry import PLANS

DESCRIPTION = """Compile every kernel for every architecture, count what it moves, and write docs/kernels_report.md.

  python -m bench.kernels_report                 # an hour on two cores; a kernel on each at a time
  python -m bench.kernels_report --minutes 10    # stop compiling then, and write the page
  python -m bench.kernels_report --minutes 0     # write the page from --results alone

Kernels in --results are not read again, those in Triton's cache not compiled: an empty TRITON_CACHE_DIR takes the time
of all.
"""
COMPILED = Path("build/kernels_report.jsonl")


def make_parser() -> argparse.ArgumentParser:
    """All options with their defaults."""
    parser = command_parser("bench.kernels_report", DESCRIPTION)
    parser.add_argument("--out", type=Path, default=Path("docs/kernels_report.md"), help="the page to write")
    parser.add_argument(
        "--results", type=Path, default=COMPILED, help="compiled kernels; an interrupted run continues from it"
    )
    parser.add_argument("--minutes", type=float, default=None, help="stop compiling after so long (default: never)")
    parser.add_argument("--processes", type=int, default=cores(), help="kernels compiled side by side")
    return parser


def everything() -> tuple[Cell, ...]:
    """All kernels to compile: first those of the bounds, then those of the table of resources."""
    return (*bound_cells(), *cells(PLANS))


def compile_missing(results: Results, processes: int, minutes: float | None) -> None:
    """Compile the missing kernels, with a progress bar; ends early on Ctrl-C or after `minutes`."""
    missing = results.missing(everything())
    end = time.monotonic() + 60 * (float("inf") if minutes is None else minutes)
    if time.monotonic() >= end:
        return
    bar = tqdm(compile_side_by_side(everything, missing, processes), "compile", len(missing), unit="kernel")
    for cell, result in bar:
        results.keep(cell, result)
        bar.set_postfix_str(f"{cell.operator} {cell.kernel} sm_{cell.architecture} T={cell.frames}")
        if time.monotonic() >= end:
            break


def main(argv: Sequence[str] | None = None) -> int:
    """Compile, count and write the page."""
    args = make_parser().parse_args(argv)
    if interpreted():
        raise UserError("TRITON_INTERPRET is set: kernels are compiled here; unset it")
    if args.processes < 1:
        raise UserError(f"--processes {args.processes}: at least 1")
    results = Results(args.results)
    compile_missing(results, args.processes, args.minutes)
    text = page(results, list(traffic_along_time()), list(traffic_in_windows()), list(traffic_around()))
    with replacing(args.out) as path:
        path.write_text(text)
    print(f"{args.out}: written")
    return 0


if __name__ == "__main__":
    run_command(main)
