"""The tile table: pixels and warps of each kernel, and where the forward pass is one kernel."""

from typing import Any, NamedTuple

import torch

from spikevrt_kernels.core.tuned import Kernel, tuned_row

OPERATOR = "temporal_block"
REGISTERS, MAX_REGISTERS = 65_536, 255
"""Registers per multiprocessor and per thread. Without a limit the assembler may aim at far fewer, and spill."""
MIN_PIXELS = 16
"""The smallest side of a matrix product in Triton."""


class Config(NamedTuple):
    """Tile size and warps of one kernel."""

    pixels: int
    warps: int
    parts: int = 1
    """Number of parts into which the hidden channels are divided; only for kernels that sum weight gradients."""

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
"""By kernel. Registers are the limit: a tile of 16 rows is spread over the warps by columns, and held only once."""

WARPGROUPS = (90, 100)
"""Architectures whose matrix products take at least 64 rows."""
ONE_KERNEL_FRAMES = 7
"""Largest number of frames for which the whole forward pass fits one kernel on these architectures."""


def one_kernel(architecture: int, frames: int) -> bool:
    """Whether the forward pass runs in one kernel.

    On other architectures the attention uses tiles of 16 pixels and the MLP tiles of 64. One kernel would read the
    MLP's weights four times as often there, where products and not memory limit the block.
    """
    return architecture in WARPGROUPS and frames <= ONE_KERNEL_FRAMES


def choose(
    kernel: str, max_pixels: int, variant: tuple[str | int, ...] = (), device: torch.device | None = None
) -> Config:
    """The tile size of a kernel: tuned for this variant on this device, else from the table.

    The tile has at most `max_pixels` pixels, but never fewer than 16.
    """
    row = tuned_row(Kernel(OPERATOR, kernel, variant), device)
    config = TABLE[kernel] if row is None else Config(*row)
    bound = 1 << max(max_pixels, 1).bit_length() - 1
    return config._replace(pixels=max(MIN_PIXELS, min(config.pixels, bound)))
