"""The tile table: rows and warps of each kernel."""

from spikevrt_kernels.core.tile_config import Config

OPERATOR = "norm_linear"
TABLE = {
    "forward": Config(128, 8),
    "bwd_dx": Config(128, 8),
    "bwd_dx_flat": Config(64, 8),
    "bwd_weights": Config(32, 8),
    "bwd_weights_flat": Config(16, 8),
}
"""By kernel. The more rows a tile has, the less often the weight is read from the cache."""
NARROW = 96
"""Most channels of which registers hold x and its gradient in as many rows as `bwd_dx` has."""
