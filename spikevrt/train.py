"""`python -m spikevrt.train`: trains VRT+Spike, or plain VRT."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from spikevrt.cli import (
    add_config_arguments,
    add_prove_again,
    command_parser,
    config_options,
    from_arguments,
    home_path,
    positive,
    run_command,
)
from spikevrt.weights import SHIPPED

if TYPE_CHECKING:
    from spikevrt.config import Config

DEFAULT = "default"
PROFILED_STEPS = 5
DESCRIPTION = """Train on a data set in the unified layout (spikevrt.prepare makes one).

  python -m spikevrt.train --config default --opts DATA.ROOT=data TRAIN.OUTPUT_DIR=runs/first
  python -m spikevrt.train --config default --opts DATA.ROOT=data TRAIN.OUTPUT_DIR=runs/first --resume auto
  python -m spikevrt.train --init tiny --opts DATA.ROOT=data TRAIN.OUTPUT_DIR=runs/mine   # start from trained weights
  python -m spikevrt.train --processes 4 --config default --opts DATA.ROOT=data
  torchrun --nproc-per-node 4 -m spikevrt.train --config default --opts DATA.ROOT=data
  python -m spikevrt.train --config default --opts DATA.ROOT=data --dry-run    # does it fit, how long will it take?

Ctrl-C finishes the current step, saves and exits; --resume auto continues where the run stopped.
"""


def make_parser() -> argparse.ArgumentParser:
    """All options with their defaults."""
    parser = command_parser("spikevrt.train", DESCRIPTION)
    add_config_arguments(parser, default=None)
    parser.add_argument(
        "--init",
        type=home_path,
        metavar="NAME|PATH",
        help=f"start a new run from weights that come with spikevrt ({', '.join(SHIPPED)}) or from a checkpoint, "
        "without --config with their configuration too (default: fresh weights, and the configuration default)",
    )
    parser.add_argument(
        "--resume", type=home_path, metavar="auto|PATH", help="continue from the run's last checkpoint, or from PATH"
    )
    parser.add_argument("--device", help="cuda:N or cpu (default: CUDA if there is a GPU)")
    parser.add_argument(
        "--processes",
        type=positive,
        default=1,
        metavar="N",
        help="train in N processes of this machine, each on its own GPU if there are GPUs (torchrun does so, too)",
    )
    add_trials(parser)
    parser.add_argument(
        "--detect-anomaly",
        action="store_true",
        help="stop at the first value that is not finite and name its module; slow. With fp16 only outputs are "
        "watched, because gradients overflow until the scaler has found its scale",
    )
    parser.add_argument(
        "--skip-bad-samples",
        type=positive,
        default=0,
        metavar="N",
        help="leave out up to N training samples that cannot be read; the next sample takes the place of each, and "
        "bad_samples.txt in TRAIN.OUTPUT_DIR lists the reasons (default: none may be bad)",
    )
    add_prove_again(parser)
    return parser


def add_trials(parser: argparse.ArgumentParser) -> None:
    """Add the options that try a run instead of training."""
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--dry-run",
        action="store_true",
        help="try two steps, a validation and a checkpoint, keep nothing, and predict the run's time, files and "
        "memory; TRAIN.OUTPUT_DIR stays as it is",
    )
    instead.add_argument(
        "--profile",
        nargs="?",
        const=PROFILED_STEPS,
        type=positive,
        metavar="STEPS",
        help=f"profile STEPS steps ({PROFILED_STEPS} if not given) after a warm-up instead of training; writes a trace "
        "(chrome://tracing, ui.perfetto.dev) and a table of operators to profile/ in TRAIN.OUTPUT_DIR",
    )


def config_of(args: argparse.Namespace) -> Config:
    """The configuration of the run: of --config, else that of --init, else `default`."""
    from spikevrt.config import load_config

    options = config_options(args)
    if args.init is None:
        return load_config(args.config or DEFAULT, options)
    from spikevrt.training.initial import config_of_weights, require_one_start

    config = load_config(args.config, options) if args.config else config_of_weights(args.init, options)
    require_one_start(config, args.init)
    return config


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the arguments and train."""
    args = make_parser().parse_args(argv)
    config = config_of(args)
    if args.processes > 1 and "RANK" not in os.environ:
        from spikevrt.system.subprocesses import Command, call_together

        return call_together(Command("train", tuple(sys.argv[1:] if argv is None else argv)), args.processes)
    from spikevrt.training.options import RunOptions
    from spikevrt.training.run import train

    return train(config, from_arguments(RunOptions, args))


if __name__ == "__main__":
    run_command(main)
