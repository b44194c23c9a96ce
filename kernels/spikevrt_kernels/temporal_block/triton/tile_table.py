"""The tile table: pixels and warps of each kernel, and where the forward pass is one kernel."""

import torch

from spikevrt_kernels.core import tile_config
from spikevrt_kernels.core.tile_config import MIN_TILE, WARPGROUPS, Config

OPERATOR = "temporal_block"
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
    config = tile_config.choose(OPERATOR, TABLE, kernel, variant, device)
    bound = 1 << max(max_pixels, 1).bit_length() - 1
    return config._replace(pixels=max(MIN_TILE, min(config.pixels, bound)))
