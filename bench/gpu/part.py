"""One part of the report in the process that was started for it; also by hand, to try a part alone.

python -m bench.gpu.part [--dry] bench.gpu.correctness.odd temporal_block bf16
"""

import ctypes
import importlib
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from bench.gpu.rows import ReportRow

PR_SET_PDEATHSIG = 1
DRY = "--dry"
ONE_THREAD = MappingProxyType(
    {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
)
"""For processes that run side by side, a core each."""
NO_GPU = MappingProxyType({**ONE_THREAD, "CUDA_VISIBLE_DEVICES": ""})


def run_part(dry: bool, job: str, arguments: Sequence[str], environment: Mapping[str, str]) -> Iterator[ReportRow]:
    """The rows of a part; this process ends when the one that started it is gone.

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
    """The command that runs a part and prints its rows, for tools that watch a process."""
    return python("bench.gpu.part", *([DRY] if dry else []), job, *arguments)


def main(argv: Sequence[str]) -> int:
    """Print the rows of the part that the arguments name; 1 where one is bad."""
    dry, bad = argv[0] == DRY, False
    job, *arguments = argv[dry:]
    for row in run_part(dry, job, arguments, {}):
        print(row.line(), flush=True)
        bad |= row.bad
    return int(bad)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
