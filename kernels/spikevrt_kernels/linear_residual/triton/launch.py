"""Grids and arguments of the kernels of a residual linear branch."""

from typing import NamedTuple

import torch
from torch import Tensor

from spikevrt_kernels.core.launch import Launch, pieces
from spikevrt_kernels.core.linear_launch import product_sizes, weight_sums_launch, weights_row
from spikevrt_kernels.core.sums import Sums
from spikevrt_kernels.core.tile_config import Config, choose
from spikevrt_kernels.linear_residual.triton.kernels import linear_residual_kernel
from spikevrt_kernels.linear_residual.triton.tile_table import OPERATOR, TABLE


class Call(NamedTuple):
    """One call of forward or backward as its kernels take it; everything is contiguous."""

    o: Tensor
    """(B,...,K)."""
    weight: Tensor
    """(C,K) in the type `dot`."""
    scale: Tensor | None
    """(B,), a factor for each sample, or None = 1."""
    dot: torch.dtype
    """Type of the inputs of matrix products."""

    def config(self, kernel: str) -> Config:
        """Tile size and warps of one kernel."""
        return choose(OPERATOR, TABLE, kernel, (str(self.dot), *self.weight.shape), self.o.device)

    def product(self, name: str, a: Tensor, x: Tensor | None, bias: Tensor | None, out: Tensor) -> Launch:
        """Out = x + scale (a W^T + b); in the backward, where a is the gradient of the result, with W for W^T."""
        config, rows = self.config(name), a.numel() // a.shape[-1]
        arguments = {
            "a_ptr": a,
            "x_ptr": x,
            "out_ptr": out,
            "w_ptr": self.weight,
            "bias_ptr": bias,
            "scale_ptr": self.scale,
            "rows": rows,
            "of_sample": rows if self.scale is None else rows // self.scale.numel(),
            "TURNED": name != "forward",
            "P": config.pixels,
            **product_sizes(a.shape[-1], out.shape[-1], self.dot),
        }
        return Launch(linear_residual_kernel, (pieces(rows, config.pixels),), arguments, config.options())


def forward_launch(call: Call, x: Tensor, bias: Tensor | None) -> tuple[Launch, Tensor]:
    """The launch, and its output of the shape and type of x."""
    out = x.new_empty(x.shape)
    return call.product("forward", call.o, x, bias, out), out


def do_launch(call: Call, grad: Tensor) -> tuple[Launch, Tensor]:
    """From the gradient (B,...,C) of the output to that of o."""
    do = call.o.new_empty(call.o.shape)
    return call.product("bwd_do", grad, None, None, do), do


def weights_launch(call: Call, grad: Tensor, biased: bool) -> tuple[Launch, Sums]:
    """The gradients of W (C,K) and, if there is one, of the bias (C,)."""
    return weight_sums_launch(
        call.o, grad, call.config(weights_row(*call.weight.shape)), call.dot, biased, scale=call.scale
    )
