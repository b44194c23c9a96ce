"""Memory of a process: how it is allocated on the CPU, and advice when it runs out."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from spikevrt.errors import UserError
from spikevrt.system.failures import out_of_memory

TRAINING_ADVICE = (
    "in this order: TRAIN.MEMORY_BUDGET_GB=auto; ADAPTIVE_CHUNK true with a smaller "
    "MAX_BATCH_TOKENS, or the triton backend; a smaller TRAIN.BATCH_SIZE; DATA.CROP_SIZE; DATA.CLIP_LEN; "
    "MODEL.CHANNELS_PER_SCALE [64,64,64,64]; TRAIN.ACCUMULATE_GRAD above 1 to keep the batch"
)
RESTORATION_ADVICE = "use smaller frames, or a smaller DATA.CLIP_LEN with a smaller TEST.CLIP_OVERLAP"
GIB = 2**30


@contextmanager
def memory_advice(advice: str) -> Iterator[None]:
    """Turn an out-of-memory error into a `UserError` with advice."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        place = "GPU memory" if isinstance(error, torch.OutOfMemoryError) else "memory"
        raise UserError(f"out of {place}; change {advice}") from None


def memory_in_use(device: torch.device) -> int:
    """Bytes: on CUDA the most that was allocated at a time so far, else the resident set of this process."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else resident_set()


def resident_set() -> int:
    """The resident set of this process in bytes; 0 where the system has no /proc."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Parameters of glibc's mallopt(3)."""


def keep_freed_memory() -> None:
    """Make the process reuse freed memory instead of returning it to the system; does nothing without glibc.

    Operators on whole frames allocate and free large tensors. Otherwise the system maps and clears their pages every
    time, which takes about half as long as the arithmetic.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, -1)


UNBOUNDED = 2**60
CONTEXT_BYTES, GAPS_SHARE = 700 * 10**6, 0.05
"""What CUDA and its libraries take beside tensors, and the share that is lost in gaps between them: allowances, not
measured."""


def free_for_tensors(device: torch.device) -> int:
    """Bytes that tensors may take on a device, of what is free now.

    On CUDA an allowance is left for libraries and gaps. On the CPU it is what the system calls available. A GPU that is
    only planned for has no bound.
    """
    if device.type == "cuda" and not torch.cuda.is_available():
        return UNBOUNDED
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # What PyTorch holds and does not use now is free for tensors too.
        return for_tensors(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) * 1024


def for_tensors(size: int) -> int:
    """Bytes that tensors may take of the free memory of a GPU."""
    return int((size - CONTEXT_BYTES) * (1 - GAPS_SHARE))
