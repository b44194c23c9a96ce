"""The kernels that are tuned, each with candidate configurations, launches to compile and cases to run."""

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch

from spikevrt.config import Config
from spikevrt.models.backends.trials import operator_trials
from spikevrt_kernels.checks.needed import needed_launches
from spikevrt_kernels.core.case import Case, mixed
from spikevrt_kernels.core.launch import Launch
from spikevrt_kernels.core.tile_config import Config as RowConfig
from spikevrt_kernels.core.tuned import Kernel, kernels_asked_for, trying
from spikevrt_kernels.core.tuned import Row as TileRow
from spikevrt_kernels.deform_conv.triton import tile_table as deform_conv
from spikevrt_kernels.linear_residual.triton import tile_table as linear_residual
from spikevrt_kernels.norm_linear.triton import tile_table as norm_linear
from spikevrt_kernels.temporal_block.triton import tile_table as block
from spikevrt_kernels.warp_pairs.triton import tile_table as warp_pairs
from spikevrt_kernels.window_attention.triton import tile_table as windows

TRAINING_PRECISION = mixed(torch.bfloat16)
"""The number type of training on a GPU."""
MARKED_WARPS = 3
"""A number of warps that no table uses: a launch with it belongs to the kernel whose row was set to it."""
FLAT_TILES = ((16, 4), (16, 8), (32, 4), (32, 8), (64, 4), (64, 8))
"""(pixels, warps): with 64 or more pixels sm_90 multiplies by warpgroups."""
TALL_TILES = ((32, 4), (64, 4), (64, 8), (128, 8))
MLP_TILES = ((16, 8, 2), (16, 4, 3), (32, 8, 3), (32, 4, 6), (64, 8, 3), (64, 4, 6), (64, 8, 6))
"""(pixels, warps, parts): sums of weight gradients stay in registers, so taller tiles need more parts."""
SCORE_TILES = ((32, 32, 4), (64, 16, 4), (64, 32, 4), (64, 64, 4), (64, 32, 8), (64, 64, 8), (128, 32, 8), (128, 64, 8))
"""(own: tokens that a program keeps, passing: tokens of each loop step, warps)."""
PAIR_TILES = ((64, 32, 4), (64, 64, 4), (64, 64, 8), (128, 64, 8))
"""Those with two windows a program: none of 32 tokens, which take twice the instructions."""


def with_last(last: int, rows: tuple[TileRow, ...]) -> tuple[TileRow, ...]:
    """Rows with their last field: (pixels, warps) with parts, (own, passing, warps) with windows a program."""
    return tuple((*row, last) for row in rows)


def in_one_part(rows: tuple[TileRow, ...]) -> tuple[TileRow, ...]:
    """Rows (pixels, warps) with one part added."""
    return with_last(1, rows)


CANDIDATES = MappingProxyType(
    {
        (block.OPERATOR, "attend"): in_one_part(FLAT_TILES),
        (block.OPERATOR, "mlp"): in_one_part(TALL_TILES),
        (block.OPERATOR, "block"): in_one_part(TALL_TILES),
        (block.OPERATOR, "bwd_dy"): in_one_part(FLAT_TILES),
        (block.OPERATOR, "bwd_mlp"): MLP_TILES,
        (block.OPERATOR, "bwd_attend"): in_one_part(FLAT_TILES),
        (block.OPERATOR, "bwd_project_1"): in_one_part(FLAT_TILES),
        (block.OPERATOR, "bwd_project_2"): in_one_part(FLAT_TILES),
        (block.OPERATOR, "bwd_project_3"): in_one_part(FLAT_TILES),
        (windows.OPERATOR, "bias"): with_last(1, ((16, 64, 4), (32, 32, 4), (64, 64, 8))),
        (windows.OPERATOR, "forward"): with_last(1, SCORE_TILES) + with_last(2, PAIR_TILES),
        (windows.OPERATOR, "mutual_forward"): with_last(1, SCORE_TILES),
        (windows.OPERATOR, "query_backward"): with_last(1, ((64, 32, 8), (32, 64, 8), (32, 64, 4))),
        (windows.OPERATOR, "key_backward"): with_last(1, SCORE_TILES),
        (windows.OPERATOR, "mutual_backward"): with_last(1, SCORE_TILES),
        (windows.OPERATOR, "table_backward"): with_last(1, ((16, 64, 4), (16, 128, 4), (16, 64, 8), (32, 64, 4))),
        **{
            (rows.OPERATOR, name): in_one_part(FLAT_TILES if "weight" in name else TALL_TILES)
            for rows in (norm_linear, linear_residual, deform_conv, warp_pairs)
            for name in rows.TABLE
        },
    }
)
"""Rows to try.

The GEGLU block is not tuned: its parts follow from its widths, its rows and warps from what the registers of a program
hold, so that of its few other rows nearly all would spill; its launches look nothing up.
"""
TILE_TABLES: dict[str, Any] = {
    own.OPERATOR: own.TABLE for own in (block, windows, norm_linear, linear_residual, deform_conv, warp_pairs)
}
"""The static tables of tile sizes by operator."""
CONFIG_TYPES: dict[str, Any] = dict.fromkeys(TILE_TABLES, RowConfig) | {windows.OPERATOR: windows.Config}
"""The type of a table's rows by operator."""


def static_row(kernel: Kernel) -> TileRow:
    """The kernel's row of the static table."""
    return tuple(TILE_TABLES[kernel.operator][kernel.name])


def with_warps(kernel: Kernel, row: TileRow, warps: int) -> TileRow:
    """The row with another number of warps."""
    return tuple(CONFIG_TYPES[kernel.operator](*row)._replace(warps=warps))


def as_in_table(kernel: Kernel, row: TileRow) -> str:
    """A row as source text for the static table: `Config(pixels=64, warps=8, parts=6)`."""
    return repr(CONFIG_TYPES[kernel.operator](*row))


def candidates(kernel: Kernel) -> list[TileRow]:
    """Rows to try, the static table's row first."""
    first = static_row(kernel)
    return [first, *(row for row in CANDIDATES[kernel.operator, kernel.name] if row != first)]


@dataclass
class Subject:
    """A kernel in one variant, with the cases that run it."""

    kernel: Kernel
    architecture: int
    """Compute capability: 90 for sm_90."""
    checked: list[Case] = field(default_factory=list)
    """Cases on which a row must be right."""
    timed: list[Case] = field(default_factory=list)
    """Cases in the model's full size, to measure the time."""

    def launches(self, row: TileRow) -> list[Launch]:
        """This kernel's launches with a row, in training and without gradients; only to compile."""
        with trying({self.kernel: with_warps(self.kernel, row, MARKED_WARPS)}):
            own = [launch.options["num_warps"] == MARKED_WARPS for launch in self.all_launches()]
        with trying({self.kernel: row}):
            return [launch for launch, is_own in zip(self.all_launches(), own, strict=True) if is_own]

    def all_launches(self) -> list[Launch]:
        """All launches of the timed cases, also of other kernels."""
        return needed_launches(self.timed, TRAINING_PRECISION, architecture=self.architecture)

    @property
    def functions(self) -> set[str]:
        """Names of the kernels as a profiler shows them."""
        return {launch.kernel.__name__ for launch in self.launches(static_row(self.kernel))}


def subjects(config: Config, architecture: int) -> list[Subject]:
    """All kernels that training and restoration run with a configuration."""
    found: dict[Kernel, Subject] = {}
    for trials in operator_trials(config, config.train.batch_size).values():
        for case in trials.timed:
            for kernel in tuned_kernels_of(case, architecture):
                found.setdefault(kernel, Subject(kernel, architecture)).timed.append(case)
        for case in trials.checked:
            for kernel in tuned_kernels_of(case, architecture):
                if kernel in found:
                    found[kernel].checked.append(case)
    return list(found.values())


def tuned_kernels_of(case: Case, architecture: int) -> list[Kernel]:
    """The tuned kernels that a case launches, forward and backward."""
    with kernels_asked_for() as kernels:
        needed_launches([case], TRAINING_PRECISION, architecture=architecture)
    return [kernel for kernel in kernels if (kernel.operator, kernel.name) in CANDIDATES]
