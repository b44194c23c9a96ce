"""The static table: pixels and warps of each kernel, and where the forward is one kernel."""

from typing import Any, NamedTuple

import torch

from spikevrt_kernels.core.tuned import Kernel, tuned_row

OPERATOR = "temporal_block"
REGISTERS, MAX_REGISTERS = 65_536, 255
"""Of a multiprocessor, and of a thread. Left to itself the assembler may aim at far fewer, and spill."""
MIN_PIXELS = 16
"""The smallest side of a matrix product."""


class Config(NamedTuple):
    """How one kernel is launched."""

    pixels: int
    warps: int
    parts: int = 1
    """Shares of the hidden channels, where sums of weight gradients are cut."""

    def options(self) -> dict[str, Any]:
        """Triton's compiler options."""
        registers = min(MAX_REGISTERS, REGISTERS // (32 * self.warps))
        return {"num_warps": self.warps, "num_stages": 1, "enable_fp_fusion": True, "maxnreg": registers}


TABLE = {
    "attend": Config(16, 4),
    "mlp": Config(64, 8),
    "block": Config(64, 8),
    "bwd_dy": Config(16, 8),
    "bwd_mlp": Config(16, 8, parts=2),
    "bwd_attend": Config(16, 4),
    "bwd_project_1": Config(16, 8),
    "bwd_project_2": Config(16, 8),
    "bwd_project_3": Config(16, 8),
}
"""By kernel. Registers decide: a tile of 16 rows is spread over the warps by its columns and held only once."""

WARPGROUPS = (90, 100)
"""Architectures whose matrix products take 64 rows at a time."""
ONE_KERNEL_FRAMES = 7
"""Most frames of which the whole forward fits one kernel on those."""


def one_kernel(architecture: int, frames: int) -> bool:
    """Whether the forward runs in one kernel.

    Elsewhere attention takes 16 pixels at a time and the MLP 64: one kernel would read the MLP's weights four times as
    often where products bound the block, not memory.
    """
    return architecture in WARPGROUPS and frames <= ONE_KERNEL_FRAMES


def choose(
    kernel: str, max_pixels: int, variant: tuple[str | int, ...] = (), device: torch.device | None = None
) -> Config:
    """The configuration of a kernel: tuned for its variant on the device, else of the table.

    `max_pixels` bounds the tile, never below 16 pixels.
    """
    row = tuned_row(Kernel(OPERATOR, kernel, variant), device)
    config = TABLE[kernel] if row is None else Config(*row)
    bound = 1 << max(max_pixels, 1).bit_length() - 1
    return config._replace(pixels=max(MIN_PIXELS, min(config.pixels, bound)))
