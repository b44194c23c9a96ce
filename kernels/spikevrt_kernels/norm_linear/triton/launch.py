"""Grids and arguments of the kernels of layer norm and a linear layer, and how their sums become gradients."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikevrt_kernels.core.launch import Launch, pieces
from spikevrt_kernels.core.linear_launch import KEPT_WIDTH, product_sizes, weight_sums_launch, weights_row
from spikevrt_kernels.core.precision import accumulation_dtype
from spikevrt_kernels.core.residual_blocks import EPS, Norm
from spikevrt_kernels.core.sums import Sums, gradients_of_norm
from spikevrt_kernels.core.tile_config import Config, choose
from spikevrt_kernels.norm_linear.triton.backward import norm_linear_bwd_dx_kernel
from spikevrt_kernels.norm_linear.triton.forward import norm_linear_kernel
from spikevrt_kernels.norm_linear.triton.tile_table import NARROW, OPERATOR, TABLE


class Call(NamedTuple):
    """One call as its kernels take it; everything is contiguous."""

    x: Tensor
    """(...,C)."""
    norm: Norm
    weight: Tensor
    """(N,C) in the type `dot`."""
    bias: Tensor | None
    """(N,); the backward does not need it."""
    dot: torch.dtype
    """Type of the inputs of matrix products."""

    @property
    def rows(self) -> int:
        """Rows of x."""
        return self.x.numel() // self.x.shape[-1]

    def config(self, kernel: str) -> Config:
        """Tile size and warps of one kernel."""
        return choose(OPERATOR, TABLE, kernel, (str(self.dot), *self.weight.shape), self.x.device)

    def launch(self, kernel: Any, name: str, arguments: dict[str, Any]) -> Launch:
        """A kernel in which each program takes some rows."""
        N, C = self.weight.shape
        config = self.config(name)
        arguments |= {"x_ptr": self.x, "gamma_ptr": self.norm[0], "w_ptr": self.weight, "rows": self.rows, "eps": EPS}
        arguments |= {"P": config.pixels, **product_sizes(C, N, self.dot)}
        return Launch(kernel, (pieces(self.rows, config.pixels),), arguments, config.options())


def forward_launch(call: Call) -> tuple[Launch, Tensor]:
    """The launch, and its output (...,N) in the type `dot`."""
    out = call.x.new_empty((*call.x.shape[:-1], call.weight.shape[0]), dtype=call.dot)
    arguments = {"out_ptr": out, "beta_ptr": call.norm[1], "bias_ptr": call.bias}
    return call.launch(norm_linear_kernel, "forward", arguments), out


def dx_row(C: int) -> str:
    """Name of the row of the tile table for dx; wider rows than KEPT_WIDTH are not kept, and need few registers."""
    return "bwd_dx_flat" if NARROW < C <= KEPT_WIDTH else "bwd_dx"


def dx_launch(call: Call, grad: Tensor) -> tuple[Launch, Tensor, Tensor]:
    """From the gradient (...,N) of the output to dx; also the statistics (2,rows) of x."""
    dx = call.x.new_empty(call.x.shape)
    stats = call.x.new_empty((2, call.rows), dtype=accumulation_dtype(call.dot))
    arguments = {"grad_ptr": grad, "dx_ptr": dx, "stats_ptr": stats}
    return call.launch(norm_linear_bwd_dx_kernel, dx_row(call.x.shape[-1]), arguments), dx, stats


def weights_launch(call: Call, grad: Tensor, stats: Tensor) -> tuple[Launch, Sums]:
    """The sums of g xhat^T (N,C) and of g (N,), from the statistics that `dx_launch` wrote."""
    return weight_sums_launch(call.x, grad, call.config(weights_row(*call.weight.shape)), call.dot, True, stats)


def run_backward_launches(call: Call, grad: Tensor) -> tuple[Tensor, ...]:
    """dx; then, in the type of sums, the gradients of gamma, beta, W and b."""
    launch, dx, stats = dx_launch(call, grad)
    launch.run()
    launch, sums = weights_launch(call, grad, stats)
    launch.run()
    dw, db = sums.gradients()
    d_weight, d_gamma, d_beta = gradients_of_norm(dw, db, call.weight, call.norm)
    return dx, d_gamma, d_beta, d_weight, db
