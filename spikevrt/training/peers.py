"""Which processes of a group ended, as far as this machine can tell."""

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread

from torch import distributed

LOOK_SECONDS = 0.5
GONE_SECONDS = 3.0
"""How often a process looks after the others, and how long after a lost connection it waits for one to be gone."""


@dataclass(frozen=True)
class Peers:
    """The processes of a group by their ranks."""

    rank: int
    world: int
    pids: dict[int, int]
    """Of the other ranks that this process can see: those of the same machine, in the same container."""
    left: Event = field(default_factory=Event)
    """Set when this process leaves the group: the others may end then."""

    @classmethod
    def meet(cls, rank: int, world: int) -> "Peers":
        """Learn about the others; all processes call this at the same time."""
        places: list[tuple[str, int]] = [("", 0)] * world
        distributed.all_gather_object(places, (place(), os.getpid()))
        pids = {other: pid for other, (where, pid) in enumerate(places) if where == place() and other != rank}
        return cls(rank, world, pids)

    def ended(self) -> list[int]:
        """Ranks that ended."""
        return [rank for rank, pid in self.pids.items() if not running(pid)]

    def ended_soon(self) -> list[int]:
        """Ranks that ended, after a connection was lost: a process that is killed is gone a moment later."""
        limit = time.monotonic() + GONE_SECONDS
        while not (found := self.ended()) and time.monotonic() < limit:
            time.sleep(LOOK_SECONDS / 50)
        return found

    def when_one_ended(self, act: Callable[[], None]) -> None:
        """Start a thread that calls `act` as soon as one of the others ended."""

        def look() -> None:
            while not self.left.wait(LOOK_SECONDS):
                if self.ended():
                    act()
                    break

        Thread(target=look, daemon=True).start()


def place() -> str:
    """What processes have in common that see each other: the machine's name, and on Linux the space of its numbers."""
    space = Path("/proc/self/ns/pid")
    return f"{socket.gethostname()} {os.readlink(space) if space.exists() else ''}"


def running(pid: int) -> bool:
    """Whether a process of this machine runs; one that ended but whose parent has not asked for it does not."""
    stat = Path(f"/proc/{pid}/stat")
    if stat.parent.parent.joinpath("self").exists():
        try:
            return stat.read_text().rpartition(")")[2].split()[0] not in "ZX"
        except OSError:
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
