"""`python -m spikevrt`, or `spikevrt` where it is installed: the list of all commands, and the way to each."""

import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from types import ModuleType

import spikevrt
from spikevrt.cli import run_command
from spikevrt.errors import UserError

COMMANDS = {
    "demo": "the main job on small data: prepare, train with and without spikes, evaluate, deblur",
    "prepare": "turn sharp video into a data set, link a downloaded one, or check one",
    "simulate": "simulate a spike camera that watches a video",
    "identify": "say what an unknown spike recording is",
    "plan": "print parameters, feature shapes and traffic of a configuration",
    "train": "train on a data set, on one GPU or many",
    "evaluate": "measure a trained model beside the blurred frames and the spikes alone",
    "deblur": "restore a clip of any length and size",
    "config": "print all configuration keys: what each does, its default, its values",
    "selftest": "compare every kernel on this machine with float64",
}
"""Modules of `spikevrt` by the name that a person types, in the order in which they are met."""


def usage() -> str:
    """The list of commands."""
    lines = [f"  {name:<10} {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [
            "usage: spikevrt COMMAND [OPTIONS]        (or: python -m spikevrt.COMMAND [OPTIONS])",
            "",
            "Restores video: an RGB camera blurs what moves, a spike camera recorded what moved where.",
            "",
            *lines,
            "",
            "spikevrt COMMAND --help has the options and examples; spikevrt --version the version.",
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """List the commands, or run one.

    Raises:
        UserError: there is no such command.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    name, *rest = arguments
    if name == "--version":
        print(f"spikevrt {spikevrt.__version__}")
        return 0
    if name not in COMMANDS:
        close = get_close_matches(name, COMMANDS, 1)
        advice = f"did you mean {close[0]}?" if close else f"use one of {', '.join(COMMANDS)}"
        raise UserError(f"spikevrt {name}: there is no such command; {advice}")
    return command_module(name).main(rest) or 0


def command_module(name: str) -> ModuleType:
    """The module of a command; a package has its command in `__main__`."""
    module = import_module(f"spikevrt.{name}")
    return import_module(f"spikevrt.{name}.__main__") if hasattr(module, "__path__") else module


def console() -> None:
    """What the console script calls."""
    run_command(main)


if __name__ == "__main__":
    console()
