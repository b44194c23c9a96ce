"""`python -m spikevrt.selftest`: compares every kernel with its reference on this machine."""

import argparse
from collections.abc import Sequence

from spikevrt.cli import add_config_arguments, command_parser, run_command
from spikevrt.config import load_config
from spikevrt_kernels.core.names import operator_names

DESCRIPTION = """Compare every kernel with its reference in float64, outputs and all gradients, and time both.

  python -m spikevrt.selftest                                # all that this machine can run
  python -m spikevrt.selftest --op temporal_block            # one operator
  python -m spikevrt.selftest --config fast                  # the shapes of another model
  TRITON_INTERPRET=1 python -m spikevrt.selftest             # no GPU: kernels in Triton's interpreter, small shapes

It uses random inputs of odd shapes in every type; on CUDA also the shapes of the model of --config, of which large
ones are compared with sdpa in float32. Errors are relative, ||a - exact|| / ||exact||, of the whole result and of its
worst 16 neighbouring values. A backend's error may be twice that of plain PyTorch in the same type (three times for
gradients). Every kernel runs three times into memory filled with NaN and must give the same bits. For more than 2^31
elements, the last clip must equal the result for that clip alone, if memory allows. Every operator and type runs in a
process of its own, so a crash or hang is one wrong row. Times are for one forward and backward pass, next to those of
the reference.

Prints a table to paste into a bug report. Exit code 1 means that something is wrong, 0 that nothing is.
"""


def make_parser() -> argparse.ArgumentParser:
    """All options with their defaults."""
    operators = operator_names()
    parser = command_parser("spikevrt.selftest", DESCRIPTION)
    parser.add_argument("--op", nargs="+", choices=operators, metavar="NAME", help=f"any of {', '.join(operators)}")
    parser.add_argument("--device", help="cuda:N or cpu (default: CUDA if there is a GPU)")
    add_config_arguments(parser, backend=False)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the arguments, run the self-test and print its table."""
    args = make_parser().parse_args(argv)
    config = load_config(args.config, args.opts)
    from spikevrt.models.backends.selftest import selftest
    from spikevrt.system.device import choose_device

    return selftest(config, choose_device(args.device), args.op)


if __name__ == "__main__":
    run_command(main)
