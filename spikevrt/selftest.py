"""`python -m spikevrt.selftest`: every kernel against its reference on this machine."""

import argparse
from collections.abc import Sequence

import torch
from tqdm import tqdm

from spikevrt.cli import add_config_arguments, command_parser, run_command
from spikevrt.config import Config, load_config
from spikevrt.device import choose_device, half_type, settle_float32
from spikevrt.models.attention_trials import attention_trials
from spikevrt.selftest_table import summary, table, untested
from spikevrt.versions import machine_lines
from spikevrt_kernels.checks.case import mixed
from spikevrt_kernels.checks.operators import OPERATORS
from spikevrt_kernels.checks.selftest import WRONG, Group, odd_groups, own_groups, rows
from spikevrt_kernels.checks.traces import without_traces

DESCRIPTION = """Compare every kernel with its reference in float64, outputs and all gradients, and time both.

  python -m spikevrt.selftest                                # all that this machine can run
  python -m spikevrt.selftest --op temporal_block            # one operator
  python -m spikevrt.selftest --config fast                  # the shapes of another model
  TRITON_INTERPRET=1 python -m spikevrt.selftest             # no GPU: kernels in Triton's interpreter, small shapes

Random inputs, odd shapes in every type; on CUDA the shapes of the model of --config, too. Errors are relative,
||a - exact|| / ||exact||; a backend may make twice the error that plain PyTorch makes in the same type (three times
in gradients). Times are one run forward and backward, beside those of the reference in the same type.

Prints a table to paste into a bug report. Exit code 1 when something is wrong, 0 otherwise.
"""


def make_parser() -> argparse.ArgumentParser:
    """All options with their defaults."""
    parser = command_parser("spikevrt.selftest", DESCRIPTION)
    parser.add_argument(
        "--op", nargs="+", choices=tuple(OPERATORS), metavar="NAME", help=f"some of {', '.join(OPERATORS)}"
    )
    parser.add_argument("--device", help="cuda:N or cpu; CUDA where there is one if not given")
    add_config_arguments(parser, backend=False)
    return parser


def groups(config: Config, device: torch.device, ops: Sequence[str]) -> list[Group]:
    """Everything to try."""
    found = list(odd_groups(device, ops))
    if device.type != "cuda":
        return found
    precision = mixed(half_type(device, config.train.mixed_precision))
    for op, trials in attention_trials(config, config.train.batch_size).items():
        cases = {case.shape: case for case in (*trials.checked, *trials.timed)} if op in ops else {}
        found += own_groups(device, cases.values(), precision)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, try, print."""
    args = make_parser().parse_args(argv)
    config, device, ops = load_config(args.config, args.opts), choose_device(args.device), args.op or list(OPERATORS)
    settle_float32()
    found = []
    with without_traces(device):
        for group in tqdm(groups(config, device, ops), "selftest", unit="case", leave=False):
            found += rows(group, device)
    print("\n".join(machine_lines(device)), end="\n\n")
    print(table(found), end="\n\n")
    print("\n".join([*untested(device, ops), *summary(found)]))
    return int(any(row.verdict == WRONG for row in found))


if __name__ == "__main__":
    run_command(main)
