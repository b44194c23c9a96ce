"""The tile table: pixels and warps of each kernel."""

from spikevrt_kernels.core.tile_config import Config

OPERATOR = "warp_pairs"
TABLE = {
    "forward": Config(64, 8),
    "bwd_flow": Config(64, 8),
    "bwd_scatter": Config(64, 8),
    "bwd_convert": Config(64, 4),
}
"""By kernel; pixels are a multiple of a tile's width (8) and at least 16."""
