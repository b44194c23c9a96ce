"""`python -m spikevrt`, or `spikevrt` where it is installed: lists the commands and runs them."""

import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from types import ModuleType

import spikevrt
from spikevrt.cli import run_command
from spikevrt.errors import UserError

COMMANDS = {
    "demo": "try everything on small data: prepare, train with and without spikes, evaluate, deblur",
    "prepare": "turn sharp video into a data set, link a downloaded one, or check one",
    "simulate": "simulate a spike camera that watches a video",
    "identify": "find out what an unknown spike recording is",
    "playback": "make pictures or a video from spikes alone",
    "plan": "print parameters, feature shapes and memory traffic of a configuration",
    "train": "train on a data set, on one GPU or many",
    "plot": "draw the curves of one or several runs",
    "evaluate": "compare a trained model with the blurred frames and with the spikes alone",
    "export": "write the weights of a checkpoint in a small file, to pass on",
    "deblur": "restore a clip of any length and size",
    "config": "print all configuration keys: meaning, default, allowed values",
    "selftest": "check every kernel on this machine against a float64 reference",
}
"""Modules of `spikevrt` that are commands, by name, in the order in which a new user needs them."""


def usage() -> str:
    """The text that lists all commands."""
    lines = [f"  {name:<10} {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [
            "usage: spikevrt COMMAND [OPTIONS]        (or: python -m spikevrt.COMMAND [OPTIONS])",
            "",
            "Restores blurred video from an RGB camera with the help of a spike camera that saw the same motion.",
            "",
            *lines,
            "",
            "spikevrt COMMAND --help prints options and examples; spikevrt --version prints the version.",
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
    """Entry point of the console script `spikevrt`."""
    run_command(main)


if __name__ == "__main__":
    console()
