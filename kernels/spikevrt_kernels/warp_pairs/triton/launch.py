"""Grids, tiles and constants of the kernels, and the launches of the backward pass in order."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikevrt_kernels.core.launch import Launch, pieces
from spikevrt_kernels.core.precision import accumulation_dtype
from spikevrt_kernels.core.tile_config import Config, choose, padded
from spikevrt_kernels.core.triton_math import TRITON_TYPES
from spikevrt_kernels.core.triton_pairs import tiles_over
from spikevrt_kernels.warp_pairs.triton.backward import (
    warp_pairs_bwd_convert_kernel,
    warp_pairs_bwd_flow_kernel,
    warp_pairs_bwd_scatter_kernel,
)
from spikevrt_kernels.warp_pairs.triton.forward import warp_pairs_fwd_kernel
from spikevrt_kernels.warp_pairs.triton.tile_table import OPERATOR, TABLE

CHUNK = 32
"""Channels of a tile, unless there are fewer."""


class Call(NamedTuple):
    """One call as its kernels take it; both tensors are contiguous."""

    x: Tensor
    """(B,T,H,W,C)."""
    flow: Tensor
    """(N,2,H,W) in the type of sums."""
    planned: bool = False
    """Whether the launch is only planned: tile sizes come from the static table."""

    @property
    def acc(self) -> torch.dtype:
        """Type of sums and positions."""
        return accumulation_dtype(self.x.dtype)

    def config(self, kernel: str) -> Config:
        """Tile size and warps of one kernel."""
        variant = (str(self.x.dtype), self.x.shape[-1])
        return choose(OPERATOR, TABLE, kernel, variant, None if self.planned else self.x.device)

    def tiles(self, pixels: int) -> int:
        """Tiles of all pairs."""
        N, _, H, W = self.flow.shape
        return tiles_over(N, H, W, pixels)

    def arguments(self, pixels: int, **pointers: Tensor | None) -> dict[str, Any]:
        """The arguments of any of the kernels, given its pointers."""
        B, T, H, W, C = self.x.shape
        return {
            **pointers,
            "H": H,
            "W": W,
            "T": T,
            "PAIRS": B * (T - 1),
            "C": C,
            "CK": min(CHUNK, padded(C)),
            "P": pixels,
            "ACC": TRITON_TYPES[self.acc],
        }


def forward_launch(call: Call) -> tuple[Launch, Tensor]:
    """The launch, and its output (N,H,W,2C+2)."""
    config = call.config("forward")
    N, _, H, W = call.flow.shape
    out = call.x.new_empty((N, H, W, 2 * call.x.shape[-1] + 2))
    arguments = call.arguments(config.pixels, x_ptr=call.x, flow_ptr=call.flow, out_ptr=out)
    return Launch(warp_pairs_fwd_kernel, (call.tiles(config.pixels),), arguments, config.options()), out


def flow_launch(call: Call, grad: Tensor, floating: bool) -> tuple[Launch, Tensor, Tensor | None]:
    """The launch, dflow, and max|dout| of the warped channels of each program; None where it is not needed."""
    config = call.config("bwd_flow")
    programs, dflow = call.tiles(config.pixels), call.flow.new_empty(call.flow.shape)
    largest = None if floating else call.flow.new_empty(programs)
    arguments = call.arguments(
        config.pixels, x_ptr=call.x, flow_ptr=call.flow, grad_ptr=grad, dflow_ptr=dflow, largest_ptr=largest
    )
    return Launch(warp_pairs_bwd_flow_kernel, (programs,), arguments, config.options()), dflow, largest


def scatter_launch(call: Call, grad: Tensor, largest: Tensor | None) -> tuple[Launch, Tensor]:
    """The launch, and the scattered sums (B,T,H,W,C): int64, or without `largest` (1,) in the type of sums."""
    config = call.config("bwd_scatter")
    sums = call.x.new_zeros(call.x.shape, dtype=call.acc if largest is None else torch.int64)
    arguments = call.arguments(config.pixels, flow_ptr=call.flow, grad_ptr=grad, sums_ptr=sums, largest_ptr=largest)
    return Launch(warp_pairs_bwd_scatter_kernel, (call.tiles(config.pixels),), arguments, config.options()), sums


def convert_launch(call: Call, grad: Tensor, sums: Tensor, largest: Tensor | None) -> tuple[Launch, Tensor]:
    """The launch, and the gradient of x."""
    config = call.config("bwd_convert")
    B, T, H, W, _ = call.x.shape
    dx = call.x.new_empty(call.x.shape)
    arguments = call.arguments(config.pixels, sums_ptr=sums, grad_ptr=grad, dx_ptr=dx, largest_ptr=largest)
    grid = (B * T * pieces(H * W, config.pixels),)
    return Launch(warp_pairs_bwd_convert_kernel, grid, arguments, config.options()), dx


def gradients(call: Call, grad: Tensor, floating: bool) -> tuple[Tensor, Tensor]:
    """Gradients of x and of the flow, those of x scattered in floating or in fixed point."""
    launch, dflow, largest = flow_launch(call, grad, floating)
    launch.run()
    if largest is not None:
        largest = largest.amax().view(1)
    launch, sums = scatter_launch(call, grad, largest)
    launch.run()
    launch, dx = convert_launch(call, grad, sums, largest)
    launch.run()
    return dx, dflow
