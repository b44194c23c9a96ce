"""`python -m spikevrt.train`: trains VRT+Spike, or plain VRT."""

import argparse
import os
import sys
from collections.abc import Sequence

from spikevrt.cli import (
    add_config_arguments,
    add_prove_again,
    command_parser,
    config_from_arguments,
    positive,
    run_command,
)

DESCRIPTION = """Train on a data set in the unified layout (spikevrt.prepare makes one).

  python -m spikevrt.train --config default --opts DATA.ROOT=data TRAIN.OUTPUT_DIR=runs/first
  python -m spikevrt.train --config default --opts DATA.ROOT=data TRAIN.OUTPUT_DIR=runs/first --resume auto
  python -m spikevrt.train --processes 4 --config default --opts DATA.ROOT=data
  torchrun --nproc-per-node 4 -m spikevrt.train --config default --opts DATA.ROOT=data

Ctrl-C finishes the current step, saves and exits; --resume auto continues where the run stopped.
"""


def make_parser() -> argparse.ArgumentParser:
    """All options with their defaults."""
    parser = command_parser("spikevrt.train", DESCRIPTION)
    add_config_arguments(parser)
    parser.add_argument("--resume", metavar="auto|PATH", help="continue from the run's last checkpoint, or from PATH")
    parser.add_argument("--device", help="cuda:N or cpu (default: CUDA if there is a GPU)")
    parser.add_argument(
        "--processes",
        type=positive,
        default=1,
        metavar="N",
        help="train in N processes of this machine, each on its own GPU if there are GPUs (torchrun does so, too)",
    )
    add_prove_again(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the arguments and train."""
    args = make_parser().parse_args(argv)
    config = config_from_arguments(args)
    if args.processes > 1 and "RANK" not in os.environ:
        from spikevrt.system.subprocesses import Command, call_together

        return call_together(Command("train", tuple(sys.argv[1:] if argv is None else argv)), args.processes)
    from spikevrt.training.run import train

    return train(config, args.resume, args.device, args.prove_again)


if __name__ == "__main__":
    run_command(main)
