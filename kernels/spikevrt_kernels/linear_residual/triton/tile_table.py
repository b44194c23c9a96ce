"""The tile table: rows and warps of each kernel."""

from spikevrt_kernels.core.tile_config import Config

OPERATOR = "linear_residual"
TABLE = {
    "forward": Config(128, 8),
    "bwd_do": Config(128, 8),
    "bwd_weights": Config(32, 8),
    "bwd_weights_flat": Config(16, 8),
}
"""By kernel. The more rows a tile has, the less often the weight is read from the cache."""
