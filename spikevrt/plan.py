"""`python -m spikevrt.plan`: parameters and feature shapes of a configuration, before any run."""

from collections.abc import Sequence

from spikevrt.cli import add_config_arguments, command_parser, config_from_arguments, run_command
from spikevrt.models.summary import feature_table, parameter_table

DESCRIPTION = """Print the parameters and the feature shapes of a model, by module and by stage.

Nothing is allocated: the model is built without storage, whatever its size.

  python -m spikevrt.plan --config default
  python -m spikevrt.plan --config fast --opts DATA.CROP_SIZE=192 TRAIN.BATCH_SIZE=1
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, build, print."""
    parser = command_parser("spikevrt.plan", DESCRIPTION)
    add_config_arguments(parser)
    config = config_from_arguments(parser.parse_args(argv))
    print(parameter_table(config))
    print()
    print(feature_table(config))
    return 0


if __name__ == "__main__":
    run_command(main)
