"""The operator calls of a run without storage, each with what it moves, multiplies and launches; equal calls as one."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from spikevrt_kernels.core.keys import Key, key_of
from spikevrt_kernels.core.launch import Launch, noted_launches
from spikevrt_kernels.core.operator import Declared
from spikevrt_kernels.proof.operator_counter import CountingMode, OperatorTraffic


class LaunchKey(NamedTuple):
    """Launches with the same key execute the same instructions as often."""

    binary: Key
    grid: tuple[int, ...]
    numbers: tuple[tuple[str, float], ...]


class Call(NamedTuple):
    """A call of an operator."""

    operator: str
    bytes: int
    flops: int
    launches: int
    kernels: tuple[LaunchKey, ...]
    """The launches of Triton kernels among them."""


class Calls:
    """The calls of a run on a GPU of an architecture (90 for sm_90)."""

    def __init__(self, architecture: int) -> None:
        self.architecture = architecture
        self.times: Counter[Call] = Counter()
        self.launches: dict[LaunchKey, Launch] = {}

    @contextmanager
    def count(self, declared: Declared, place: Callable[[], str]) -> Iterator[OperatorTraffic]:
        """As `count_operators`; notes the calls inside the block."""
        with noted_launches(self.architecture) as noted, CallMode(declared, place, self, noted) as mode:
            yield mode.traffic


class CallMode(CountingMode):
    """Counts bytes as `CountingMode`, and notes each call."""

    repeats = False

    def __init__(self, declared: Declared, place: Callable[[], str], calls: Calls, noted: list[Launch]) -> None:
        super().__init__(declared, place)
        self.calls, self.noted = calls, noted
        self.cost = (0, 0, 0)

    def see(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call an operator, count what it moves, and note the call."""
        first, self.cost = len(self.noted), (0, 0, 0)
        out = super().see(func, args, kwargs)
        moved, launches, flops = self.cost
        if launches:
            keys = tuple(map(self.keep, self.noted[first:]))
            call = Call(func._schema.name, moved, flops, launches, keys)
            self.calls.times[call] += 1
        return out

    def add(self, name: str, moved: int, launches: int, flops: int) -> None:
        """Add one call, and remember its cost."""
        super().add(name, moved, launches, flops)
        self.cost = moved, launches, flops

    def keep(self, launch: Launch) -> LaunchKey:
        """The key of a launch, of which one is kept."""
        numbers = tuple((name, value) for name, value in launch.arguments.items() if isinstance(value, int | float))
        key = LaunchKey(key_of(launch), launch.grid, numbers)
        self.calls.launches.setdefault(key, launch)
        return key
