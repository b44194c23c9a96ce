"""The process of a command: signals that end it in order, and standard streams that may be closed or broken.

Imports nothing heavy: `spikevrt.cli` needs it for every command.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

from spikevrt.errors import UserError, shown


def signals(*names: str) -> tuple[signal.Signals, ...]:
    """The signals of these names that this system knows."""
    return tuple(getattr(signal, name) for name in names if hasattr(signal, name))


HANGUP = signals("SIGHUP")
ENDING = (signal.SIGTERM, *HANGUP)
"""Signals that end a command as Ctrl-C does: batch systems send the first, a closed terminal the second."""
STOPPING = (signal.SIGINT, *ENDING)
"""Those and Ctrl-C itself."""
RANKS = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
"""What torchrun sets, and what a process by itself has."""
NEEDED = {"RANK", "MASTER_ADDR", "MASTER_PORT"}
"""What several processes need to find each other."""
Handler = Callable[[int, FrameType | None], object] | signal.Handlers


class EndingSignal(KeyboardInterrupt):
    """A signal of `ENDING` has arrived.

    Args:
        number: the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by {signal.Signals(number).name}")
        self.code = 128 + number
        """Exit code, as shells report it."""


def place_of_process() -> tuple[int, int, int]:
    """This process among those that torchrun starts: its number, how many there are, its number on this machine.

    Raises:
        UserError: the variables that torchrun sets are incomplete or wrong.
    """
    set_here = {name: os.environ[name] for name in RANKS if name in os.environ}
    try:
        rank, world, local = (int(set_here.get(name, default)) for name, default in RANKS.items())
    except ValueError:
        rank, world, local = -1, 0, 0
    if not 0 <= rank < world or (world > 1 and not os.environ.keys() >= NEEDED):
        told = ", ".join(f"{name}={shown(value)}" for name, value in set_here.items())
        raise UserError(f"{told}: are not as torchrun sets them; start by torchrun, or unset these variables")
    return rank, world, local


@contextmanager
def handled(numbers: Iterable[signal.Signals], handler: Handler) -> Iterator[None]:
    """While active, `handler` gets these signals; afterwards, what got them before does.

    What nohup ignores stays ignored: a command under it outlives its terminal.
    """
    heard = [number for number in numbers if number not in HANGUP or signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in heard}
    try:
        yield
    finally:
        for number, own in before.items():
            signal.signal(number, own)


@contextmanager
def ending_in_order() -> Iterator[None]:
    """Meanwhile a signal of `ENDING` raises `EndingSignal`, so that nothing half-written stays.

    A signal that is handled or ignored stays so; threads other than the main one change nothing.
    """

    def end(number: int, frame: FrameType | None) -> None:
        raise EndingSignal(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with handled([number for number in ENDING if signal.getsignal(number) == signal.SIG_DFL], end):
        yield


def open_closed_streams() -> None:
    """Lead standard streams that are closed (`>&-`) to nowhere.

    Otherwise the next file that is opened gets their number, and receives what libraries print.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # The system gives the lowest number that is free.
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115


def give_up_broken_streams() -> None:
    """Lead output that cannot be written (a closed pipe, a full disk) to nowhere.

    Python would complain at its exit, and change the exit code.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
