"""`python -m bench.bounds`: predicts the least time of a whole forward and training step on every GPU, without one."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from bench.without_gpu.page import markdown_table
from bench.without_gpu.whole import (
    RUNS,
    Counted,
    Whole,
    Works,
    count_side_by_side,
    counted,
    recorded,
    tasks,
    whole_bound,
)
from spikevrt.cli import add_config_arguments, command_parser, config_from_arguments, run_command
from spikevrt.errors import UserError
from spikevrt.models.traffic import kind_of
from spikevrt_kernels.core.launch import interpreted
from spikevrt_kernels.core.processes import cores
from spikevrt_kernels.proof.calls import Calls
from spikevrt_kernels.proof.roofline import GPUS, TENSOR_SHARE, Gpu

DESCRIPTION = """Print the least time of a whole forward and of a whole training step: predicted, never measured.

  python -m bench.bounds --config default --opts TRAIN.BATCH_SIZE=1
  python -m bench.bounds --config default --gpus H100 A6000    # GPUs whose names hold one of these words
  python -m bench.bounds --config default --bytes-only         # at once: nothing is compiled, bytes and products alone
"""
HEADER = ("run", "GPU", "bytes", "products", "exponentials", "float32", "instructions", "launches", "host", "bound")
LEGEND = """
Predicted, never measured; milliseconds. Each limit alone, over all operator calls: bytes at 85% of the bandwidth,
products at {share:.0%} of the peak rate of 16-bit inputs, exponentials, float32 arithmetic and issued instructions of
the Triton kernels at the multiprocessors' peak; PyTorch's own operators count by bytes and products. launches: 3 us
between them; host: 12.5 us each from Python, while earlier kernels run. bound: the sum over the calls of their largest
limit, with the launches."""


def make_parser() -> argparse.ArgumentParser:
    """All options with their defaults."""
    parser = command_parser("bench.bounds", DESCRIPTION)
    add_config_arguments(parser)
    parser.add_argument("--gpus", nargs="+", default=[""], metavar="WORD", help="GPUs by a word of their names")
    parser.add_argument(
        "--tensor-share", type=float, default=TENSOR_SHARE, metavar="SHARE", help="of the peak rate of products"
    )
    parser.add_argument("--bytes-only", action="store_true", help="compile nothing: bytes and products alone")
    parser.add_argument("--by-work", action="store_true", help="also the bounds by kind of work")
    parser.add_argument(
        "--results", type=Path, default=Path("build/bounds.jsonl"), help="counts; an interrupted run continues from it"
    )
    parser.add_argument("--processes", type=int, default=cores(), help="kernels compiled side by side")
    return parser


def figures(run: str, gpu: Gpu, whole: Whole) -> list[str]:
    """One line of the table."""
    limits = whole.memory, whole.tensor, whole.exponentials, whole.float32, whole.issue, whole.gaps, whole.host
    return [run, gpu.name, *(f"{1e3 * seconds:.1f}" for seconds in limits), f"**{1e3 * whole.seconds:.1f}**"]


def lines(every: Mapping[tuple[str, int], Calls], gpus: Sequence[Gpu], file: Counted | None) -> Iterator[list[str]]:
    """The lines of the table; without a file no instructions."""
    for run in RUNS:
        for gpu in gpus:
            calls = every[run, gpu.architecture]
            works: Works = {} if file is None else counted(calls, file)
            yield figures(run, gpu, whole_bound(gpu, calls.times, works))


def lines_by_work(
    every: Mapping[tuple[str, int], Calls], gpus: Sequence[Gpu], file: Counted | None
) -> Iterator[list[str]]:
    """The bounds of each run and GPU by kind of work, as a table with its header."""
    columns: dict[str, dict[str, float]] = {}
    for run in RUNS:
        for gpu in gpus:
            calls = every[run, gpu.architecture]
            works: Works = {} if file is None else counted(calls, file)
            sums = columns.setdefault(f"{run}, {gpu.name}", {})
            for call, count in calls.times.items():
                kind = kind_of(call.operator)
                sums[kind] = sums.get(kind, 0.0) + whole_bound(gpu, {call: count}, works).seconds
    yield ["work", *columns]
    for kind in dict.fromkeys(kind for sums in columns.values() for kind in sums):
        yield [kind, *(f"{1e3 * sums.get(kind, 0.0):.1f}" for sums in columns.values())]


def uncounted(every: Mapping[tuple[str, int], Calls], file: Counted) -> str:
    """The kernels whose instructions cannot be counted, or nothing."""
    found = {
        f"{key.binary.kernel.rpartition('.')[2]} on sm_{architecture}": None
        for (_, architecture), calls in every.items()
        for key, work in counted(calls, file).items()
        if work is None
    }
    return f"Without exponentials and instructions, which cannot be counted: {', '.join(found)}." if found else ""


def main(argv: Sequence[str] | None = None) -> int:
    """Record the calls, count their instructions and print the table."""
    args = make_parser().parse_args(argv)
    if interpreted():
        raise UserError("TRITON_INTERPRET is set: kernels are compiled here; unset it")
    if args.processes < 1:
        raise UserError(f"--processes {args.processes}: at least 1")
    if not 0 < args.tensor_share <= 1:
        raise UserError(f"--tensor-share {args.tensor_share}: above 0, at most 1")
    gpus = [gpu for gpu in GPUS if any(word in gpu.name for word in args.gpus)]
    if not gpus:
        raise UserError(f"--gpus {' '.join(args.gpus)}: none of {', '.join(gpu.name for gpu in GPUS)}")
    gpus = [gpu._replace(tensor_rate=gpu.tensor_rate * args.tensor_share / TENSOR_SHARE) for gpu in gpus]
    config = config_from_arguments(args)
    pairs = [(run, gpu.architecture) for gpu in gpus for run in RUNS]
    every = {pair: recorded(config, *pair) for pair in tqdm(pairs, "calls", unit="run")}
    file = None
    if not args.bytes_only:
        file = Counted(args.results)
        left = tasks(every.values(), file)
        with tqdm(total=len(left), desc="compile", unit="kernel") as bar:
            count_side_by_side(left, file, args.processes, lambda task: bar.update())
    print(markdown_table(HEADER, list(lines(every, gpus, file))) + LEGEND.format(share=args.tensor_share))
    if args.by_work:
        header, *rows = lines_by_work(every, gpus, file)
        print("\n" + markdown_table(header, rows))
    print("" if file is None else uncounted(every, file))
    return 0


if __name__ == "__main__":
    run_command(main)
