"""Options of the commands that simulate spikes between the frames of a source."""

import argparse

from spikevrt.data.simulation.settings import GAMMA, INTERPOLATIONS, NONE, SpikeCamera


def add_interpolation(parser: argparse.ArgumentParser, camera: SpikeCamera) -> None:
    """Add `--factor` and `--interpolate`; `camera` has the defaults."""
    parser.add_argument(
        "--factor", type=int, help=f"spike frames per source frame (default: {camera.factor}; 1 with none)"
    )
    parser.add_argument(
        "--interpolate",
        choices=INTERPOLATIONS,
        default=camera.interpolate,
        help=f"between source frames; {'; '.join(f'{name}: {what}' for name, what in INTERPOLATIONS.items())} "
        f"(default: {camera.interpolate})",
    )


def add_light(parser: argparse.ArgumentParser, camera: SpikeCamera) -> None:
    """Add `--linear-light` and `--gamma`; `camera` has the default."""
    light = parser.add_mutually_exclusive_group()
    light.add_argument(
        "--linear-light",
        dest="gamma",
        action="store_const",
        const=GAMMA,
        default=camera.gamma,
        help=f"add up light, not pixel values: --gamma {GAMMA}",
    )
    light.add_argument("--gamma", type=float, help=f"add up pixel values to this power (default: {camera.gamma:g})")


def factor_of(args: argparse.Namespace, camera: SpikeCamera) -> int:
    """The factor that the options mean."""
    if args.factor is not None:
        return int(args.factor)
    return 1 if args.interpolate == NONE else camera.factor
