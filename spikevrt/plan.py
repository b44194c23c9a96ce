"""`python -m spikevrt.plan`: parameters, feature shapes and traffic of a configuration, before any run."""

from collections.abc import Sequence

from spikevrt.cli import add_config_arguments, command_parser, config_from_arguments, run_command

DESCRIPTION = """Print the parameters and the feature shapes of a model, by module and by stage.

Nothing is allocated: the model is built without storage, whatever its size.

  python -m spikevrt.plan --config default
  python -m spikevrt.plan --config fast --opts DATA.CROP_SIZE=192 TRAIN.BATCH_SIZE=1
  python -m spikevrt.plan --config default --traffic    # also what a forward moves, by attention backend
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, build, print."""
    parser = command_parser("spikevrt.plan", DESCRIPTION)
    add_config_arguments(parser)
    parser.add_argument(
        "--traffic", action="store_true", help="bytes and launches of a forward by attention backend; no GPU needed"
    )
    args = parser.parse_args(argv)
    config = config_from_arguments(args)
    from spikevrt.models.planning import feature_table, parameter_table

    print(parameter_table(config))
    print()
    print(feature_table(config))
    if args.traffic:
        from spikevrt.models.planning import traffic_table

        print()
        print(traffic_table(config))
    return 0


if __name__ == "__main__":
    run_command(main)
