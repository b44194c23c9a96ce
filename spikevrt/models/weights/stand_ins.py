"""What stands for the classes that a file of weights names and that are not read, because reading would run code."""

from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch

NUMPY_SCALARS = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
"""What a pickled NumPy number calls, before and since NumPy 2."""

HUGE = 10**24


class StandIn:
    """An object of a class that was not read: it keeps what the file says of it and does nothing."""

    arguments: tuple[Any, ...]
    state: Any = None

    def __new__(cls, *arguments: Any) -> "StandIn":
        """Keep the arguments of the object's construction."""
        own = super().__new__(cls)
        own.arguments = arguments
        return own

    def __init__(self, *arguments: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state


def numpy_scalar(kind: StandIn, data: bytes) -> Any:
    """The plain number that a pickled NumPy scalar holds; `kind` stands for its `numpy.dtype`."""
    dtype = np.dtype(kind.arguments[0]).newbyteorder(kind.state[1])
    return np.frombuffer(data, dtype)[0].item()


def stand_ins(path: Path) -> list[tuple[Callable[..., Any], str]]:
    """Stand-ins with the names of the classes and functions that `torch.load` does not know to be safe.

    They are empty for a file whose names cannot be listed; `torch.load` then says what it does not read.
    """
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
    except (ValueError, RuntimeError, EOFError, UnpicklingError):
        return []
    return [(numpy_scalar if name in NUMPY_SCALARS else type(name, (StandIn,), {}), name) for name in names]


def described(value: Any) -> str:
    """What an entry holds, for messages: `text`, `dict`, `an object of class easydict.EasyDict`."""
    kind = type(value)
    if isinstance(value, StandIn):
        return f"an object of class {kind.__name__}, which is not read for safety"
    return "text" if kind is str else "nothing" if value is None else kind.__name__


def brief(number: float) -> str:
    """A number of a file as short text; Python refuses to format integers of thousands of digits."""
    return "a huge integer" if isinstance(number, int) and abs(number) > HUGE else f"{number:.6g}"
