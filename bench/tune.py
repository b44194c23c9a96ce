"""`python -m bench.tune`: find the fastest tiles and warps of every kernel on this GPU, for training and deblur."""

import argparse
import time
from collections.abc import Sequence

import torch
from tqdm import tqdm

from bench.tuning.subjects import as_in_table, candidates, static_row, subjects
from bench.tuning.trials import Asked, Compiled, Tried, compile_every_candidate, fastest, try_rows
from spikevrt.cli import add_config_arguments, command_parser, positive, positive_number, run_command
from spikevrt.config import load_config
from spikevrt.errors import UserError
from spikevrt.system.machine import machine_lines
from spikevrt.table import format_table
from spikevrt_kernels.core.processes import cores
from spikevrt_kernels.core.tuned import VARIABLE, Kernel, keep_rows, read_rows, rows_path
from spikevrt_kernels.core.tuned import Row as TileRow

DESCRIPTION = f"""Try several configurations of every kernel, and keep the fastest one that is right.

  python -m bench.tune                                      # on a GPU, some minutes; training and deblur use the result
  python -m bench.tune --kernel bwd_mlp bwd_dy              # only these kernels
  python -m bench.tune --dry --architecture 90              # on any machine: compile, and list registers and stack

Only candidates that compile without a stack are run; each is first compared with float64, in a process of its own. The
result is kept in the user's cache folder for this device, Triton version and these sources ({VARIABLE}=0 disables it),
and printed as a line for the static tables.
"""
COMPILED_COLUMNS = ("kernel", "variant", "row", "registers", "stack", "shared", "matrix instructions", "")
TRIED_COLUMNS = ("kernel", "variant", "row", "ms", "")


def make_parser() -> argparse.ArgumentParser:
    """All options with their defaults."""
    parser = command_parser("bench.tune", DESCRIPTION)
    parser.add_argument(
        "--kernel", nargs="+", default=[], metavar="NAME", help="only these kernels of the static tables"
    )
    parser.add_argument("--minutes", type=positive_number, default=20.0, help="start no kernel after this time")
    parser.add_argument("--dry", action="store_true", help="only compile; the same happens without a GPU")
    parser.add_argument(
        "--architecture", type=positive, help="architecture to compile for: 90 for sm_90 (default: this GPU's, else 90)"
    )
    parser.add_argument("--workers", type=positive, help="processes that compile (default: all cores but one)")
    add_config_arguments(parser, backend=False)
    return parser


def asked_for(args: argparse.Namespace) -> Asked:
    """The configuration and architecture to tune for.

    Raises:
        UserError: the architecture is not this GPU's, and --dry is not given.
    """
    own = None
    if torch.cuda.is_available():
        major, minor = torch.cuda.get_device_capability()
        own = 10 * major + minor
    if own is not None and not args.dry and args.architecture not in (None, own):
        raise UserError(f"--architecture {args.architecture}: this GPU is sm_{own}; add --dry to compile for another")
    return Asked(args.config, tuple(args.opts), args.architecture or own or 90)


def kernels_named(kernels: Sequence[Kernel], names: Sequence[str]) -> list[Kernel]:
    """The kernels of these names; all if there are none.

    Raises:
        UserError: there is no such kernel.
    """
    known = list(dict.fromkeys(kernel.name for kernel in kernels))
    for name in names:
        if name not in known:
            raise UserError(f"--kernel {name}: this configuration runs no such kernel; use {', '.join(known)}")
    return [kernel for kernel in kernels if not names or kernel.name in names]


def compiled_cells(one: Compiled) -> tuple[str, ...]:
    """One line of the table of binaries."""
    figures = () if one.reason else (one.registers, one.stack, one.shared, one.tensor_core)
    mark = one.reason or ("" if one.fits else "spills") + (" static" if one.row == static_row(one.kernel) else "")
    return *named(one.kernel, one.row), *(map(str, figures) if figures else [""] * 4), mark.strip()


def tried_cells(kernel: Kernel, one: Tried, best: TileRow) -> tuple[str, ...]:
    """One line of the table of times."""
    ms = "-" if one.seconds is None else f"{1e3 * one.seconds:.3f}"
    marks = [one.reason or "", "static" if one.row == static_row(kernel) else "", "taken" if one.row == best else ""]
    return *named(kernel, one.row), ms, ", ".join(filter(None, marks))


def named(kernel: Kernel, row: TileRow) -> tuple[str, str, str]:
    """Kernel, variant and table row as text."""
    return f"{kernel.operator} {kernel.name}", "-".join(map(str, kernel.variant)), " x ".join(map(str, row))


def compile_with_bar(asked: Asked, kernels: Sequence[Kernel], workers: int) -> dict[Kernel, list[Compiled]]:
    """Compile all candidates, with a progress bar."""
    with tqdm(total=sum(len(candidates(kernel)) for kernel in kernels), desc="compile", leave=False) as bar:
        return compile_every_candidate(asked, kernels, workers, lambda row: bar.update())


def measure_all(asked: Asked, compiled: dict[Kernel, list[Compiled]], until: float) -> int:
    """Try the candidates of one kernel after the other; each result is printed and kept at once."""
    name = torch.cuda.get_device_properties(torch.cuda.current_device()).name
    kept, found = read_rows(name), 0
    for kernel, binaries in compiled.items():
        if time.monotonic() > until:
            print(f"{kernel}: no time left")
            continue
        tried = try_rows(asked, kernel, [one.row for one in binaries if one.fits])
        best = fastest(tried, static_row(kernel))
        print(format_table(TRIED_COLUMNS, [tried_cells(kernel, one, best) for one in tried]), flush=True)
        kept.pop(kernel, None)
        if best != static_row(kernel):
            kept[kernel], found = best, found + 1
            print(f'static table: "{kernel.name}": {as_in_table(kernel, best)},', flush=True)
        keep_rows(name, kept)
    print(f"{found} kernels run faster with another row than the static table's; kept in {rows_path(name)}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Compile all candidates, and measure them if there is a GPU."""
    args = make_parser().parse_args(argv)
    end = time.monotonic() + 60 * args.minutes
    asked = asked_for(args)
    found = subjects(load_config(args.config, args.opts), asked.architecture)
    kernels = kernels_named([subject.kernel for subject in found], args.kernel)
    workers = args.workers or max(1, cores() - 1)
    print("\n".join(machine_lines()))
    compiled = compile_with_bar(asked, kernels, workers)
    rows = [compiled_cells(one) for ones in compiled.values() for one in ones]
    print(f"\nsm_{asked.architecture}\n{format_table(COMPILED_COLUMNS, rows)}\n", flush=True)
    if args.dry:
        return 0
    if not torch.cuda.is_available():
        print("no CUDA device here: nothing is timed, and nothing kept")
        return 0
    return measure_all(asked, compiled, end)


if __name__ == "__main__":
    run_command(main)
