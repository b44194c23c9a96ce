"""Triton's own launcher without a GPU: it specialises, compiles and binds arguments; its driver launches nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

from spikevrt_kernels.core.backends import planning
from spikevrt_kernels.core.launch import assumed

WARP = 32
PROPERTIES = {
    "max_shared_mem": 227 * 1024,
    "max_num_regs": 65_536,
    "multiprocessor_count": 132,
    "warpSize": WARP,
    "sm_clock_rate": 1,
    "mem_clock_rate": 1,
    "mem_bus_width": 1,
}
"""Properties of an H100 that the launcher needs."""
MODULE, FUNCTION, REGISTERS, SPILLS, MAX_THREADS = 1, 1, 128, 0, 1024
"""Values that loading a binary returns."""


class Launched(NamedTuple):
    """A launch that a GPU would have run."""

    kernel: str
    grid: tuple[int, int, int]


@dataclass
class Record:
    """What the launcher did: launches and compilations."""

    launches: list[Launched] = field(default_factory=list)
    compiled: list[str] = field(default_factory=list)
    """Kernels that were not in Triton's cache on disk."""


class Driver:
    """The driver functions that Triton needs, for one architecture (90 for sm_90).

    Every driver is a device of its own to the launcher, which keeps what it compiled by device.
    """

    def __init__(self, architecture: int, record: Record | None = None) -> None:
        self.architecture, self.record = architecture, record or Record()
        self.utils, self.launcher_cls = self, self._launcher

    def get_current_target(self) -> GPUTarget:
        """The target to compile for."""
        return GPUTarget("cuda", self.architecture, WARP)

    def get_current_device(self) -> "Driver":
        """Device number, under which the launcher keeps kernels."""
        return self

    def get_current_stream(self, device: object) -> int:
        """The default stream."""
        return 0

    def get_active_torch_device(self) -> torch.device:
        """Device of the tensors: the CPU."""
        return torch.device("cpu")

    def is_active(self) -> bool:
        """True on every machine."""
        return True

    def get_device_properties(self, device: object) -> dict[str, int]:
        """Limits that the launcher checks a binary against."""
        return PROPERTIES

    def load_binary(self, name: str, kernel: bytes, shared: int, device: object) -> tuple[int, int, int, int, int]:
        """Handles of a binary that is not loaded."""
        return MODULE, FUNCTION, REGISTERS, SPILLS, MAX_THREADS

    def _launcher(self, source: Any, metadata: Any) -> Any:
        def launch(x: int, y: int, z: int, *arguments: Any) -> None:
            self.record.launches.append(Launched(metadata.name, (x, y, z)))

        return launch


@contextmanager
def no_launch(architecture: int = 90) -> Iterator[Record]:
    """While active, kernels are compiled for an architecture on CPU tensors, and launches are only recorded.

    The backend `triton` may be asked for on any machine. Outputs hold whatever their memory held.
    """
    mine = Driver(architecture)
    # As it is stored, by whichever name: to ask for it would look for a GPU.
    before = vars(driver).get("_active", vars(driver).get("active"))

    def note(src: Any, cache_hit: bool, **_: Any) -> None:
        if not cache_hit:
            mine.record.compiled.append(src.name)

    driver.set_active(mine)
    try:
        with planning(), assumed(architecture), triton.knobs.compilation.scope():
            triton.knobs.compilation.listener = note
            yield mine.record
    finally:
        driver.set_active(before)
