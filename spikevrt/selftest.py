"""`python -m spikevrt.selftest`: every kernel against its reference on this machine."""

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

Random inputs, odd shapes in every type; on CUDA the shapes of the model of --config, too, the large ones beside sdpa
in float32. Errors are relative, ||a - exact|| / ||exact||, of the whole and of its worst 16 neighbours; a backend may
make twice the error that plain PyTorch makes in the same type (three times in gradients). A kernel runs three times
into memory of NaN and must give the same bits; of more than 2^31 elements the last clip must be what it is alone,
where memory allows. Every operator and type has a process of its own: what crashes or
hangs there is one wrong row. Times are one run forward and backward, beside those of the reference in the same type.

Prints a table to paste into a bug report. Exit code 1 when something is wrong, 0 otherwise.
"""


def make_parser() -> argparse.ArgumentParser:
    """All options with their defaults."""
    operators = operator_names()
    parser = command_parser("spikevrt.selftest", DESCRIPTION)
    parser.add_argument("--op", nargs="+", choices=operators, metavar="NAME", help=f"some of {', '.join(operators)}")
    parser.add_argument("--device", help="cuda:N or cpu; CUDA where there is one if not given")
    add_config_arguments(parser, backend=False)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, try, print."""
    args = make_parser().parse_args(argv)
    config = load_config(args.config, args.opts)
    from spikevrt.models.backends.selftest import selftest
    from spikevrt.system.device import choose_device

    return selftest(config, choose_device(args.device), args.op)


if __name__ == "__main__":
    run_command(main)
