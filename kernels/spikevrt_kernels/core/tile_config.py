"""What tile tables consist of: sizes of tiles, warps, and the options that they mean for Triton's compiler."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from spikevrt_kernels.core.tuned import Kernel, tuned_row

REGISTERS, MAX_REGISTERS = 65_536, 255
"""Registers per multiprocessor and per thread. Without a limit the assembler may aim at far fewer, and spill."""
MIN_TILE = 16
"""The smallest side of a matrix product in Triton."""
WARPGROUPS = (90, 100)
"""Architectures whose matrix products take at least 64 rows."""


def compiler_options(warps: int) -> dict[str, Any]:
    """Triton's compiler options for a number of warps."""
    registers = min(MAX_REGISTERS, REGISTERS // (32 * warps))
    return {"num_warps": warps, "num_stages": 1, "enable_fp_fusion": True, "maxnreg": registers}


class Config(NamedTuple):
    """Tile size and warps of one kernel."""

    pixels: int
    """Pixels (rows) of a tile."""
    warps: int
    parts: int = 1
    """Number of parts into which channels are divided among programs; only for kernels that sum weight gradients."""

    def options(self) -> dict[str, Any]:
        """Triton's compiler options."""
        return compiler_options(self.warps)


def choose(
    operator: str,
    table: Mapping[str, Config],
    kernel: str,
    variant: tuple[str | int, ...] = (),
    device: torch.device | None = None,
) -> Config:
    """The row of a kernel: tuned for this variant on this device (None = a launch that is only planned), else static.

    `variant` holds what distinguishes binaries of the kernel as far as it affects registers.
    """
    row = tuned_row(Kernel(operator, kernel, variant), device)
    return table[kernel] if row is None else Config(*row)


def padded(C: int) -> int:
    """Channels of a tile that holds all of them: C, rounded up to a power of two."""
    return max(MIN_TILE, 1 << (C - 1).bit_length())
