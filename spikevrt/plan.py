"""`python -m spikevrt.plan`: predicts what a configuration needs: parameters, shapes, work and memory."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from spikevrt.cli import (
    add_config_arguments,
    command_parser,
    config_options,
    file_to_write,
    positive_number,
    require_unread,
    run_command,
)
from spikevrt.config import Config, load_config
from spikevrt.errors import UserError, shown

STDOUT = Path("-")
DESCRIPTION = """Predict what a configuration needs: parameters, work and memory of a training step, memory of deblur.

No GPU is needed and no memory is taken: everything runs on tensors without storage. The chosen backend takes some 20
seconds, the others as long again, on two cores.

  python -m spikevrt.plan --config default
  python -m spikevrt.plan --config default --gpu-memory 24    # and what fits a GPU of 24 GB, with the lines to set
  python -m spikevrt.plan --config fast --opts DATA.CROP_SIZE=192 TRAIN.BATCH_SIZE=1 --picture memory.png
  python -m spikevrt.plan --config default --traffic          # the exact count of operators, per attention backend
"""


def make_parser() -> argparse.ArgumentParser:
    """All options with their defaults."""
    parser = command_parser("spikevrt.plan", DESCRIPTION)
    add_config_arguments(parser)
    parser.add_argument(
        "--gpu-memory", type=positive_number, metavar="GB", help="also print what fits a GPU of so many GB (10^9 bytes)"
    )
    parser.add_argument(
        "--json", type=file_to_write, metavar="FILE", help="file for all figures; - prints them in place of the text"
    )
    parser.add_argument("--picture", type=file_to_write, help="PNG file: the memory of a step while it runs")
    parser.add_argument(
        "--traffic",
        action="store_true",
        help="print bytes and launches of a forward per backend instead, by part and kind of work",
    )
    parser.add_argument(
        "--step-traffic", action="store_true", help="the same for a training step of TRAIN.BATCH_SIZE clips (minutes)"
    )
    return parser


def check_outputs(args: argparse.Namespace) -> None:
    """Refuse options that exclude each other, and files to write that are read, or are one file; name the PNG."""
    from spikevrt.data.files.images import as_png

    args.picture = args.picture and as_png("--picture", args.picture)
    if (args.traffic or args.step_traffic) and (args.json or args.picture or args.gpu_memory):
        raise UserError("--traffic, --step-traffic: print nothing else; leave out --json, --picture and --gpu-memory")
    for option, file in (("--json", args.json), ("--picture", args.picture)):
        if file:
            require_unread(option, file, [Path(args.config)])
    if args.json and args.picture and args.json.resolve() == args.picture.resolve():
        raise UserError(f"--picture {shown(str(args.picture))}: is the file of --json too; name another one")


def print_traffic(args: argparse.Namespace, config: Config) -> None:
    """Print the tables of --traffic and --step-traffic."""
    from spikevrt.models.traffic import traffic_table
    from spikevrt.training.step_cost import step_table

    tables = [table for table, wanted in ((traffic_table, args.traffic), (step_table, args.step_traffic)) if wanted]
    print("\n\n".join(table(config) for table in tables))


def report(args: argparse.Namespace, load: Callable[[Sequence[str]], Config]) -> None:
    """Print and write what a configuration needs; load(options) -> the configuration with more options."""
    from spikevrt.data.files.atomic import replacing
    from spikevrt.data.files.images import write_png
    from spikevrt.predictions.picture import drawn
    from spikevrt.predictions.report import Report, predict
    from spikevrt.predictions.text import about_others, detailed

    shown: list[Report] = []

    def show(found: Report) -> None:
        if args.json != STDOUT and not shown:
            print(detailed(found), flush=True)
            shown.append(found)

    found = predict(load, args.config, config_options(args), args.gpu_memory, show)
    show(found)
    print(found.as_json() if args.json == STDOUT else about_others(found))
    if args.json and args.json != STDOUT:
        with replacing(args.json) as temporary:
            temporary.write_text(found.as_json() + "\n", encoding="utf-8")
    if args.picture:
        write_png(args.picture, drawn(found))


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the arguments, look at the configuration without storage, and print and write what was found."""
    args = make_parser().parse_args(argv)
    check_outputs(args)

    def load(more: Sequence[str]) -> Config:
        return load_config(args.config, [*config_options(args), *more])

    if args.traffic or args.step_traffic:
        print_traffic(args, load([]))
    else:
        report(args, load)
    return 0


if __name__ == "__main__":
    run_command(main)
