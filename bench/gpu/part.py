"""One part of the report in a process of its own, and what it finds. A part can also be run alone:

python -m bench.gpu.part [--dry] bench.gpu.correctness.odd temporal_block bf16
"""

import ctypes
import importlib
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Any

START, END = "start", "end"
"""Kinds of findings that the board adds. Parts use: machine, check, time, step, kernel, peak, dram, whole, note."""
WELL, NO_TIME = "ended well", "no time left"
"""How a part ended; other endings are described by the process that ran it."""
PR_SET_PDEATHSIG = 1
DRY = "--dry"
ONE_THREAD = MappingProxyType(
    {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
)
"""Environment of processes that run side by side with one core each."""
NO_GPU = MappingProxyType({**ONE_THREAD, "CUDA_VISIBLE_DEVICES": ""})


@dataclass(frozen=True)
class Finding:
    """What a part found, kept as a line of JSON."""

    kind: str
    text: str = ""
    """One line for people."""
    bad: bool = False
    """Whether something is wrong or failed."""
    keep: bool = False
    """Whether the summary repeats it."""
    figures: dict[str, Any] = field(default_factory=dict)
    """Values for programs: seconds, bytes, ratios."""
    part: str = ""
    """Name of the task that found it."""
    at: float = 0.0
    """Seconds since the report began."""

    def of(self, part: str, at: float) -> "Finding":
        """The same finding with the part and the time that it came from."""
        return replace(self, part=part, at=round(at, 1))

    def line(self) -> str:
        """As JSON, without a line break."""
        return json.dumps(asdict(self), default=str)


def finding_of(kind: str, text: str = "", bad: bool = False, keep: bool = False, **figures: Any) -> Finding:
    """A finding with figures given by name."""
    return Finding(kind, text, bad, keep, figures)


def read_finding(line: str) -> Finding | None:
    """The finding of a line of results.jsonl; None if the line is incomplete or no finding."""
    try:
        return Finding(**json.loads(line))
    except (ValueError, TypeError):
        return None


def run_part(dry: bool, job: str, arguments: Sequence[str], environment: Mapping[str, str]) -> Iterator[Finding]:
    """Yield the findings of a part; this process is killed when its parent process ends.

    Args:
        dry: run on the CPU.
        job: `module.function`; the function takes a `Setting` and the arguments.
        arguments: passed on to the function.
        environment: variables that libraries read when they are imported.
    """
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.environ.update(environment)
    module, _, function = job.rpartition(".")
    part = getattr(importlib.import_module(module), function)
    setting = importlib.import_module("bench.gpu.setting").settled(dry)
    yield from part(setting, *arguments)


def python(module: str, *arguments: str) -> tuple[str, ...]:
    """The command that runs a module with this Python."""
    return (sys.executable, "-m", module, *arguments)


def command(dry: bool, job: str, *arguments: str) -> tuple[str, ...]:
    """The command that runs a part and prints its findings, for tools that watch a process from outside."""
    return python("bench.gpu.part", *([DRY] if dry else []), job, *arguments)


def main(argv: Sequence[str]) -> int:
    """Print the findings of the part that the arguments name; returns 1 if one is bad."""
    dry, bad = argv[0] == DRY, False
    job, *arguments = argv[dry:]
    for finding in run_part(dry, job, arguments, {}):
        print(finding.line(), flush=True)
        bad |= finding.bad
    return int(bad)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
