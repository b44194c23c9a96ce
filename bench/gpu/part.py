"""One part of the report in the process that was started for it; also by hand, to try a part alone.

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
"""Kinds of the findings that the board writes itself; those of parts: machine, check, time, step, peak, dram, note."""
WELL, NO_TIME = "ended well", "no time left"
"""How a part may have ended; any other way is in the words of its process."""
PR_SET_PDEATHSIG = 1
DRY = "--dry"
ONE_THREAD = MappingProxyType(
    {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
)
"""For processes that run side by side, a core each."""
NO_GPU = MappingProxyType({**ONE_THREAD, "CUDA_VISIBLE_DEVICES": ""})


@dataclass(frozen=True)
class Finding:
    """One finding."""

    kind: str
    text: str = ""
    """For people, one line."""
    bad: bool = False
    """Something is wrong, or failed."""
    keep: bool = False
    """Repeated at the end."""
    figures: dict[str, Any] = field(default_factory=dict)
    """For machines: seconds, bytes, ratios."""
    part: str = ""
    """Which process said it."""
    at: float = 0.0
    """Seconds since the report began."""

    def of(self, part: str, at: float) -> "Finding":
        """The same finding with its origin."""
        return replace(self, part=part, at=round(at, 1))

    def line(self) -> str:
        """As JSON, without a line break."""
        return json.dumps(asdict(self), default=str)


def finding_of(kind: str, text: str = "", bad: bool = False, keep: bool = False, **figures: Any) -> Finding:
    """A finding with its figures by name."""
    return Finding(kind, text, bad, keep, figures)


def read_finding(line: str) -> Finding | None:
    """The finding of a line of results.jsonl, or None where the line is cut off or something else."""
    try:
        return Finding(**json.loads(line))
    except (ValueError, TypeError):
        return None


def run_part(dry: bool, job: str, arguments: Sequence[str], environment: Mapping[str, str]) -> Iterator[Finding]:
    """The findings of a part; this process ends when the one that started it is gone.

    Args:
        dry: on the CPU.
        job: `module.function`; the function takes a `Setting` and the arguments.
        arguments: words.
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
    """The command that runs a part and prints its findings, for tools that watch a process."""
    return python("bench.gpu.part", *([DRY] if dry else []), job, *arguments)


def main(argv: Sequence[str]) -> int:
    """Print the findings of the part that the arguments name; 1 where one is bad."""
    dry, bad = argv[0] == DRY, False
    job, *arguments = argv[dry:]
    for finding in run_part(dry, job, arguments, {}):
        print(finding.line(), flush=True)
        bad |= finding.bad
    return int(bad)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
