"""The tile table: pixels and warps of each kernel."""

from spikevrt_kernels.core.tile_config import Config

OPERATOR = "deform_conv"
TABLE = {
    "forward": Config(64, 4),
    "bwd_bias": Config(64, 4),
    "bwd_gradients": Config(64, 8),
}
"""By kernel; pixels are a multiple of a tile's width (8) and at least 16."""
