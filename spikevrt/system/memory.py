"""Memory of a process: how it is allocated on the CPU, and advice when it runs out."""

import ctypes
import resource
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from spikevrt.errors import UserError
from spikevrt.system.failures import out_of_memory
from spikevrt.system.shared_memory import processes_here

TRAINING_ADVICE = (
    "in this order: TRAIN.MEMORY_BUDGET_GB=auto; ADAPTIVE_CHUNK true with a smaller "
    "MAX_BATCH_TOKENS, or the triton backend; a smaller TRAIN.BATCH_SIZE; DATA.CROP_SIZE; DATA.CLIP_LEN; "
    "MODEL.CHANNELS_PER_SCALE [64,64,64,64]; TRAIN.ACCUMULATE_GRAD above 1 to keep the batch"
)
RESTORATION_ADVICE = "TEST.TILE_SIZE (--tile) to a smaller number, or DATA.CLIP_LEN with a smaller TEST.CLIP_OVERLAP"
GIB = 2**30


@contextmanager
def memory_advice(advice: str) -> Iterator[None]:
    """Turn an out-of-memory error into a `UserError` with advice."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise UserError(f"out of {place_of(error)}; change {advice}") from None


def place_of(error: Exception) -> str:
    """Which memory an out-of-memory error means."""
    return "GPU memory" if isinstance(error, torch.OutOfMemoryError) else "memory"


def drop_frames(error: BaseException | None) -> None:
    """Free what the frames of an error and of those behind it hold, as the tensors of what failed."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def memory_in_use(device: torch.device) -> int:
    """Bytes: on CUDA the most that was allocated at a time so far, else the resident set of this process."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else resident_set()


def resident_set() -> int:
    """The resident set of this process in bytes; 0 where the system has no /proc."""
    return own_sizes()[1]


def own_sizes() -> tuple[int, int]:
    """The address space and the resident set of this process in bytes; 0 where the system has no /proc."""
    try:
        size, resident = Path("/proc/self/statm").read_text().split()[:2]
    except OSError:
        return 0, 0
    return int(size) * resource.getpagesize(), int(resident) * resource.getpagesize()


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
"""What libraries (CUDA's and others) take beside tensors, and the share that is lost in gaps between them: allowances,
not measured."""


def free_for_tensors(device: torch.device) -> int:
    """Bytes that tensors may take on a device, of what is free now.

    On CUDA an allowance is left for libraries and gaps. On the CPU it is what the system calls available, which the
    processes of one training on this machine share. A GPU that is only planned for has no bound.
    """
    if device.type == "cuda" and not torch.cuda.is_available():
        return UNBOUNDED
    if device.type == "cuda":
        return for_tensors(left_by_others(device) - torch.cuda.memory_allocated(device))
    return available() // processes_here()


def room_for_tensors(device: torch.device) -> int:
    """Bytes that all tensors of this process may take together: of what is free now and what it holds now."""
    if device.type == "cuda":
        return for_tensors(left_by_others(device))
    return for_tensors(available() // processes_here() + resident_set())


def left_by_others(device: torch.device) -> int:
    """Bytes of a GPU for PyTorch in this process: those that are free, and those that it holds, used or not."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device)


def available() -> int:
    """Bytes that this process may still take of the machine's memory."""
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    found = int(lines["MemAvailable"].split()[0]) * 1024
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)  # ulimit -v
    return found if limit == resource.RLIM_INFINITY else min(found, max(0, limit - own_sizes()[0]))


def for_tensors(size: int) -> int:
    """Bytes that tensors may take of so much free memory."""
    return max(0, int((size - CONTEXT_BYTES) * (1 - GAPS_SHARE)))
