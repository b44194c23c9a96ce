"""Grids, tiles and constants of the kernels of the deformable convolution."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikevrt_kernels.core.launch import Launch, pieces
from spikevrt_kernels.core.precision import accumulation_dtype
from spikevrt_kernels.core.tile_config import Config, choose
from spikevrt_kernels.core.triton_math import TRITON_TYPES
from spikevrt_kernels.core.triton_pairs import tiles_over
from spikevrt_kernels.deform_conv.reference import TAPS
from spikevrt_kernels.deform_conv.triton.forward import deform_conv_fwd_kernel
from spikevrt_kernels.deform_conv.triton.steps import STEP, chunk_of, groups_of_step, padded_width
from spikevrt_kernels.deform_conv.triton.tile_table import OPERATOR, TABLE

MOST_CHUNKS = 6
"""Accumulators of a forward program: 192 outputs. With more, another program gathers again."""


class Call(NamedTuple):
    """One call as its kernels take it; all tensors are contiguous."""

    x: Tensor
    """(B,T,H,W,C)."""
    predicted: Tensor
    """(N,H,W,27G)."""
    flow: Tensor
    """(N,2,H,W) in the type of sums."""
    weight: Tensor
    """(9,C,Cout) in the type `dot`."""
    max_residue: float
    dot: torch.dtype
    """Type of the inputs of matrix products, and of the output."""
    planned: bool = False
    """Whether the launch is only planned: tile sizes come from the static table."""

    @property
    def acc(self) -> torch.dtype:
        """Type of sums and positions."""
        return accumulation_dtype(self.dot)

    @property
    def groups(self) -> int:
        """Deformable groups."""
        return self.predicted.shape[-1] // (3 * TAPS)

    @property
    def outputs(self) -> int:
        """Output channels."""
        return self.weight.shape[-1]

    def config(self, kernel: str) -> Config:
        """Tile size and warps of one kernel."""
        variant = (str(self.dot), self.x.shape[-1], self.groups, self.outputs)
        return choose(OPERATOR, TABLE, kernel, variant, None if self.planned else self.x.device)

    def tiles(self, pixels: int) -> int:
        """Tiles of all pairs."""
        N, H, W, _ = self.predicted.shape
        return tiles_over(N, H, W, pixels)


def taps_first(weight: Tensor, dot: torch.dtype) -> Tensor:
    """(Cout,C,3,3) -> (9,C,Cout) contiguous in the type `dot`."""
    return weight.flatten(2).permute(2, 1, 0).to(dot).contiguous()


def shared_arguments(call: Call, held: int, pixels: int) -> dict[str, Any]:
    """What forward and backward take alike, with `held` groups a step."""
    B, T, H, W, C = call.x.shape
    return {
        "x_ptr": call.x,
        "predicted_ptr": call.predicted,
        "flow_ptr": call.flow,
        "H": H,
        "W": W,
        "T": T,
        "PAIRS": B * (T - 1),
        "residue": call.max_residue,
        "C": C,
        "G": call.groups,
        "EP": padded_width(C // call.groups),
        "GC": held,
        "COUT": call.outputs,
        "CO": chunk_of(call.outputs),
        "P": pixels,
        "DOT": TRITON_TYPES[call.dot],
        "ACC": TRITON_TYPES[call.acc],
    }


def forward_launch(call: Call, bias: Tensor) -> tuple[Launch, Tensor]:
    """The launch, and its output (2,B,T-1,H,W,Cout)."""
    B, T, H, W, C = call.x.shape
    config = call.config("forward")
    out = call.x.new_empty((2, B, T - 1, H, W, call.outputs), dtype=call.dot)
    held = groups_of_step(call.groups, padded_width(C // call.groups), STEP)
    arguments = shared_arguments(call, held, config.pixels)
    chunks = pieces(call.outputs, arguments["CO"])
    arguments |= {"weight_ptr": call.weight, "bias_ptr": bias, "out_ptr": out, "NO": min(chunks, MOST_CHUNKS)}
    grid = (call.tiles(config.pixels), pieces(chunks, MOST_CHUNKS))
    return Launch(deform_conv_fwd_kernel, grid, arguments, config.options()), out
