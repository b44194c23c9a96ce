"""`python -m spikevrt.config`: prints the reference of all configuration keys."""

import argparse
from collections.abc import Sequence

from spikevrt.cli import add_config_arguments, command_parser, run_command
from spikevrt.config import load_config
from spikevrt.config.reference import markdown, parts, plain_text, select

DESCRIPTION = """Print the configuration keys: value, type, meaning and allowed values.

  python -m spikevrt.config                         # all keys with their defaults
    python -m spikevrt.config MODEL.VRT TRAIN.LR      # one section and one key
  python -m spikevrt.config --config fast           # the values of a preset, or of a YAML file
    python -m spikevrt.config --markdown              # as docs/configuration.md holds it
"""


def make_parser() -> argparse.ArgumentParser:
    """All options with their defaults."""
    parser = command_parser("spikevrt.config", DESCRIPTION)
    parser.add_argument("names", nargs="*", metavar="SECTION|KEY", help="print only these, for example TRAIN.LR")
    add_config_arguments(parser, backend=False)
    parser.add_argument("--markdown", action="store_true", help="print Markdown tables instead of plain text")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the arguments and print the keys."""
    args = make_parser().parse_args(argv)
    chosen = select(parts(load_config(args.config, args.opts)), args.names)
    print(markdown(chosen, args.config) if args.markdown else plain_text(chosen))
    return 0


if __name__ == "__main__":
    run_command(main)
