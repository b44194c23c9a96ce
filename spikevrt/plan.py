"""`python -m spikevrt.plan`: prints parameters, feature shapes, memory and memory traffic of a configuration."""

from collections.abc import Sequence

from spikevrt.cli import add_config_arguments, command_parser, config_from_arguments, positive_number, run_command

DESCRIPTION = """Print a model's parameters per module, and the shape of its features after each stage.

No memory is allocated: the model is built without storage, whatever its size.

  python -m spikevrt.plan --config default
  python -m spikevrt.plan --config fast --opts DATA.CROP_SIZE=192 TRAIN.BATCH_SIZE=1
  python -m spikevrt.plan --config default --gpu-memory 24    # memory of a training step, what fits a GPU of 24 GB
  python -m spikevrt.plan --config default --traffic    # also memory traffic of a forward, per attention backend
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the arguments, build the model without storage, and print the tables."""
    parser = command_parser("spikevrt.plan", DESCRIPTION)
    add_config_arguments(parser)
    parser.add_argument(
        "--traffic", action="store_true", help="also print bytes and launches of a forward per backend; needs no GPU"
    )
    parser.add_argument(
        "--step-traffic", action="store_true", help="the same for a training step of TRAIN.BATCH_SIZE clips (minutes)"
    )
    parser.add_argument(
        "--memory", action="store_true", help="also print the memory of a training step by what is computed again"
    )
    parser.add_argument(
        "--gpu-memory", type=positive_number, metavar="GB", help="the same, and what fits a GPU of so many GB"
    )
    args = parser.parse_args(argv)
    config = config_from_arguments(args)
    from spikevrt.models.planning import feature_table, parameter_table

    print(parameter_table(config))
    print()
    print(feature_table(config))
    if args.memory or args.gpu_memory:
        from spikevrt.training.memory_table import memory_table

        print()
        print(memory_table(config, args.gpu_memory))
    if args.traffic:
        from spikevrt.models.traffic import traffic_table

        print()
        print(traffic_table(config))
    if args.step_traffic:
        from spikevrt.training.step_cost import step_table

        print()
        print(step_table(config))
    return 0


if __name__ == "__main__":
    run_command(main)
