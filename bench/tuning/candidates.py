"""The configurations that are tried: a handful for each kernel, tall tiles for Hopper's wide products among them."""

from types import MappingProxyType
from typing import Any

from spikevrt_kernels.core.tuned import Kernel, Row
from spikevrt_kernels.temporal_block.triton import tile_table as block
from spikevrt_kernels.window_attention.triton import tile_table as windows

FLAT = ((16, 4), (16, 8), (32, 4), (32, 8), (64, 4), (64, 8))
"""(pixels, warps): from 64 rows on sm_90 multiplies by warpgroups."""
TALL = ((32, 4), (64, 4), (64, 8), (128, 8))
MLP = ((16, 8, 2), (16, 4, 3), (32, 8, 3), (32, 4, 6), (64, 8, 3), (64, 4, 6), (64, 8, 6))
"""(pixels, warps, parts): sums of weight gradients stay in registers, so that taller tiles take more parts."""
SCORES = ((32, 32, 4), (64, 16, 4), (64, 32, 4), (64, 64, 4), (64, 32, 8), (64, 64, 8), (128, 32, 8), (128, 64, 8))
"""(own, passing, warps)."""


def whole(rows: tuple[tuple[int, int], ...]) -> tuple[Row, ...]:
    """The same in one part."""
    return tuple((pixels, warps, 1) for pixels, warps in rows)


CANDIDATES = MappingProxyType(
    {
        (block.OPERATOR, "attend"): whole(FLAT),
        (block.OPERATOR, "mlp"): whole(TALL),
        (block.OPERATOR, "block"): whole(TALL),
        (block.OPERATOR, "bwd_dy"): whole(FLAT),
        (block.OPERATOR, "bwd_mlp"): MLP,
        (block.OPERATOR, "bwd_attend"): whole(FLAT),
        (block.OPERATOR, "bwd_project_1"): whole(FLAT),
        (block.OPERATOR, "bwd_project_2"): whole(FLAT),
        (block.OPERATOR, "bwd_project_3"): whole(FLAT),
        (windows.OPERATOR, "forward"): SCORES,
        (windows.OPERATOR, "backward"): SCORES,
        (windows.OPERATOR, "mutual_backward"): SCORES,
        (windows.OPERATOR, "bias_backward"): SCORES,
        (windows.OPERATOR, "table_backward"): ((16, 64, 4), (16, 128, 4), (16, 64, 8), (32, 64, 4)),
    }
)
TABLES: dict[str, Any] = {block.OPERATOR: block.TABLE, windows.OPERATOR: windows.TABLE}
"""The static tables."""
CONFIGS: dict[str, Any] = {block.OPERATOR: block.Config, windows.OPERATOR: windows.Config}
"""What a row of them is."""


def static_row(kernel: Kernel) -> Row:
    """What the static table has."""
    return tuple(TABLES[kernel.operator][kernel.name])


def with_warps(kernel: Kernel, row: Row, warps: int) -> Row:
    """A row with other warps."""
    return tuple(CONFIGS[kernel.operator](*row)._replace(warps=warps))


def as_in_table(kernel: Kernel, row: Row) -> str:
    """A row as the source of the static table has it: `Config(pixels=64, warps=8, parts=6)`."""
    return repr(CONFIGS[kernel.operator](*row))


def candidates(kernel: Kernel) -> list[Row]:
    """Rows to try, that of the static table first."""
    first = static_row(kernel)
    return [first, *(row for row in CANDIDATES[kernel.operator, kernel.name] if row != first)]
