"""The launches of the backward pass in order, and how their sums become gradients."""

from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from spikevrt_kernels.core.launch import Launch, pieces
from spikevrt_kernels.core.sums import Sums, new_sums, programs_over
from spikevrt_kernels.core.tile_config import compiler_options
from spikevrt_kernels.core.triton_math import TRITON_TYPES
from spikevrt_kernels.deform_conv.reference import TAPS
from spikevrt_kernels.deform_conv.triton.backward import (
    deform_conv_bwd_bias_kernel,
    deform_conv_bwd_gradients_kernel,
)
from spikevrt_kernels.deform_conv.triton.fixed_point import deform_conv_bwd_convert_kernel
from spikevrt_kernels.deform_conv.triton.launch import Call, shared_arguments
from spikevrt_kernels.deform_conv.triton.steps import backward_share, chunk_of

Gradients = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
BLOCK, CONVERT_WARPS = 1024, 4
"""Numbers that a program turns into floating point, and its warps."""


class Bound(NamedTuple):
    """What bounds the gradient of x, on the device: (1,) each in the type of sums."""

    largest: Tensor
    """max|dout|; the kernel writes NaN where it meets a gate that is NaN."""
    column: Tensor
    """The largest sum of |W| over outputs."""


def bias_launch(call: Call, grad: Tensor) -> tuple[Launch, Sums]:
    """The launch; sums of db (Cout,) and, in the last column, max|dout| of each program."""
    config, chunk = call.config("bwd_bias"), chunk_of(call.outputs)
    rows = prod(grad.shape[:-1])
    programs = programs_over(pieces(rows, config.pixels))
    sums = new_sums(call.x, call.acc, programs, (call.outputs,), (1,))
    arguments = {
        "grad_ptr": grad,
        "sums_ptr": sums.rows,
        "ROWS": rows,
        "COUT": call.outputs,
        "NO": pieces(call.outputs, chunk),
        "CO": chunk,
        "P": config.pixels,
        "ACC": TRITON_TYPES[call.acc],
    }
    return Launch(deform_conv_bwd_bias_kernel, (programs,), arguments, config.options()), sums


def bound_of(call: Call, sums: Sums) -> Bound:
    """The bound from the sums of `bias_launch`, without waiting for the device."""
    columns = torch.linalg.vector_norm(call.weight, 1, 2, dtype=call.acc)
    return Bound(sums.rows[:, -1].amax().view(1), columns.amax().view(1))


class GatheredGradients(NamedTuple):
    """What the launch of `gradients_launch` writes."""

    dx: Tensor
    """(B,T,H,W,C) int64, or in the type of sums if there is no bound."""
    dpredicted: Tensor
    """(N,H,W,27G)."""
    dflow: Tensor
    """(parts,N,2,H,W) in the type of sums: the gradient of the flow is their sum."""
    sums: Sums
    """Sums of dW (9,C,Cout)."""


def gradients_launch(
    call: Call, grad: Tensor, bound: Bound | None, over: Tensor | None = None
) -> tuple[Launch, GatheredGradients]:
    """The launch, in fixed point if there is a bound, and what it writes.

    `over` gets the gradient of what was predicted, which may lie there: a program has read what it writes over.
    """
    config, channels = call.config("bwd_gradients"), call.x.shape[-1]
    share = backward_share(call.groups, channels, call.outputs)
    parts, tiles = share.blocks * share.tap_parts, call.tiles(config.pixels)
    programs = pieces(tiles, pieces(tiles, programs_over(tiles, parts)))
    found = GatheredGradients(
        call.x.new_zeros(call.x.shape, dtype=torch.int64 if bound else call.acc),
        call.predicted.new_empty(call.predicted.shape) if over is None else over,
        call.flow.new_empty((parts, *call.flow.shape)),
        new_sums(call.x, call.acc, programs, (TAPS, channels, call.outputs)),
    )
    arguments = shared_arguments(call, share.groups, config.pixels)
    arguments |= {
        "weight_ptr": call.weight,
        "grad_ptr": grad,
        "dx_ptr": found.dx,
        "dpredicted_ptr": found.dpredicted,
        "dflow_ptr": found.dflow,
        "sums_ptr": found.sums.rows,
        "largest_ptr": bound.largest if bound else None,
        "column_ptr": bound.column if bound else None,
        "TILES": tiles,
        "NO": pieces(call.outputs, arguments["CO"]),
        "TAPS": share.taps,
        "FIXED": bound is not None,
    }
    return Launch(deform_conv_bwd_gradients_kernel, (parts, programs), arguments, config.options()), found


def convert_launch(call: Call, fixed: Tensor, bound: Bound) -> tuple[Launch, Tensor]:
    """The launch that turns fixed point into the type of x, and its output."""
    dx = call.x.new_empty(call.x.shape)
    arguments = {
        "fixed_ptr": fixed,
        "dx_ptr": dx,
        "largest_ptr": bound.largest,
        "column_ptr": bound.column,
        "H": call.x.shape[2],
        "W": call.x.shape[3],
        "numbers": dx.numel(),
        "BLOCK": BLOCK,
        "ACC": TRITON_TYPES[call.acc],
    }
    grid = (pieces(dx.numel(), BLOCK),)
    return Launch(deform_conv_bwd_convert_kernel, grid, arguments, compiler_options(CONVERT_WARPS)), dx


def gradients(call: Call, grad: Tensor, weight: Tensor, floating: bool, over: Tensor | None = None) -> Gradients:
    """Gradients of x, predicted (in `over` if it is given), flow, weight (Cout,C,3,3), and bias in the type of sums."""
    launch, bias_sums = bias_launch(call, grad)
    launch.run()
    bound = None if floating else bound_of(call, bias_sums)
    launch, found = gradients_launch(call, grad, bound, over)
    launch.run()
    if bound is None:
        dx = found.dx.to(call.x.dtype)
    else:
        launch, dx = convert_launch(call, found.dx, bound)
        launch.run()
    dw = found.sums.gradients()[0].permute(2, 1, 0).reshape(weight.shape).to(weight.dtype)
    return dx, found.dpredicted, found.dflow.sum(0), dw, bias_sums.gradients()[0].clone()
