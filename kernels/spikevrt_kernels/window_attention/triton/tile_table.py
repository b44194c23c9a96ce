"""The tile table: tokens per tile and warps of each kernel."""

from typing import Any, NamedTuple

import torch

from spikevrt_kernels.core.tile_config import MIN_TILE, compiler_options
from spikevrt_kernels.core.tuned import Kernel, tuned_row

OPERATOR = "window_attention"


class Config(NamedTuple):
    """Tile sizes, warps and windows a program of one kernel."""

    own: int
    """Largest number of tokens in the tile that a program owns."""
    passing: int
    """Largest number of tokens in the tiles that it iterates over."""
    warps: int
    group: int = 1
    """Windows of a program of the forward, which loads each tile of their bias once; no other kernel has more."""

    def options(self) -> dict[str, Any]:
        """Triton's compiler options."""
        return compiler_options(self.warps)


TABLE = {
    "bias": Config(32, 64, 4),
    "forward": Config(64, 64, 4),
    "mutual_forward": Config(64, 64, 4),
    "query_backward": Config(64, 64, 8),
    "key_backward": Config(64, 64, 4),
    "mutual_backward": Config(64, 32, 4),
    "table_backward": Config(16, 64, 4),
}
"""By kernel. One frame of an 8 x 8 window is one tile."""


def choose(
    kernel: str,
    architecture: int,
    tokens: int,
    variant: tuple[str | int, ...] = (),
    device: torch.device | None = None,
) -> Config:
    """The tile sizes of a kernel: tuned for this variant on this device, else from the table.

    Tiles are not larger than `tokens` require.
    """
    row = tuned_row(Kernel(OPERATOR, kernel, variant), device)
    config = TABLE[kernel] if row is None else Config(*row)
    most = max(MIN_TILE, 1 << (tokens - 1).bit_length())
    return config._replace(own=min(config.own, most), passing=min(config.passing, most))
