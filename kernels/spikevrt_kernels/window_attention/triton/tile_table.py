"""The static table: tokens of a tile and warps of each kernel by architecture."""

from typing import Any, NamedTuple

import torch

from spikevrt_kernels.core.tuned import Kernel, tuned_row

OPERATOR = "window_attention"
REGISTERS, MAX_REGISTERS = 65_536, 255
"""Of a multiprocessor, and of a thread. Left to itself the assembler may aim at far fewer, and spill."""
MIN_TILE = 16
"""The smallest side of a matrix product."""


class Config(NamedTuple):
    """How one kernel is launched."""

    own: int
    """Most tokens of the tile that a program works on."""
    passing: int
    """Most tokens of the tiles that pass by it."""
    warps: int

    def options(self) -> dict[str, Any]:
        """Triton's compiler options."""
        registers = min(MAX_REGISTERS, REGISTERS // (32 * self.warps))
        return {"num_warps": self.warps, "num_stages": 1, "enable_fp_fusion": True, "maxnreg": registers}


TABLE = {
    "forward": Config(64, 32, 4),
    "backward": Config(64, 32, 4),
    "mutual_backward": Config(64, 32, 4),
    "bias_backward": Config(64, 64, 8),
    "table_backward": Config(16, 64, 4),
}
"""By kernel: a frame of an 8 x 8 window is one tile."""


def choose(
    kernel: str,
    architecture: int,
    tokens: int,
    variant: tuple[str | int, ...] = (),
    device: torch.device | None = None,
) -> Config:
    """The configuration of a kernel: tuned for its variant on the device, else of the table.

    Its tiles are no larger than `tokens` need.
    """
    row = tuned_row(Kernel(OPERATOR, kernel, variant), device)
    config = TABLE[kernel] if row is None else Config(*row)
    most = max(MIN_TILE, 1 << (tokens - 1).bit_length())
    return config._replace(own=min(config.own, most), passing=min(config.passing, most))
