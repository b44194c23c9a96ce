"""The launches of the backward pass in order, and how their sums become gradients."""

from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikevrt_kernels.core.launch import Launch, pieces
from spikevrt_kernels.core.sums import Sums, new_sums, programs_over
from spikevrt_kernels.core.tile_config import compiler_options
from spikevrt_kernels.core.triton_math import TRITON_TYPES
from spikevrt_kernels.deform_conv.reference import TAPS
from spikevrt_kernels.deform_conv.triton.backward import deform_conv_bwd_features_kernel
from spikevrt_kernels.deform_conv.triton.fixed_point import deform_conv_bwd_convert_kernel
from spikevrt_kernels.deform_conv.triton.launch import Call, chunk_of, shared_arguments
from spikevrt_kernels.deform_conv.triton.steps import STEP, WEIGHT_STEP
from spikevrt_kernels.deform_conv.triton.weight_backward import (
    deform_conv_bwd_bias_kernel,
    deform_conv_bwd_weight_kernel,
)

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


def features_launch(call: Call, grad: Tensor, bound: Bound | None) -> tuple[Launch, tuple[Tensor, Tensor, Tensor]]:
    """The launch, in fixed point if there is a bound; dx (int64, or in the type of sums), dpredicted and dflow."""
    config = call.config("bwd_features")
    dx = call.x.new_zeros(call.x.shape, dtype=torch.int64 if bound else call.acc)
    dpredicted, dflow = (t.new_empty(t.shape) for t in (call.predicted, call.flow))
    arguments = shared_arguments(call, STEP, config.pixels) | {
        "weight_ptr": call.weight,
        "grad_ptr": grad,
        "dx_ptr": dx,
        "dpredicted_ptr": dpredicted,
        "dflow_ptr": dflow,
        "largest_ptr": bound.largest if bound else None,
        "column_ptr": bound.column if bound else None,
        "FIXED": bound is not None,
    }
    grid = (call.tiles(config.pixels),)
    return Launch(deform_conv_bwd_features_kernel, grid, arguments, config.options()), (dx, dpredicted, dflow)


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


def weight_launch(call: Call, grad: Tensor) -> tuple[Launch, Sums]:
    """The launch, and sums of dW (9,C,Cout)."""
    config = call.config("bwd_weight")
    arguments: dict[str, Any] = shared_arguments(call, WEIGHT_STEP, config.pixels)
    steps, tiles = TAPS * pieces(call.groups, arguments["GC"]), call.tiles(config.pixels)
    programs = pieces(tiles, pieces(tiles, max(1, programs_over(tiles) // steps)))
    sums = new_sums(call.x, call.acc, programs, (TAPS, call.x.shape[-1], call.outputs))
    arguments |= {
        "grad_ptr": grad,
        "sums_ptr": sums.rows,
        "TILES": tiles,
        "NO": pieces(call.outputs, arguments["CO"]),
    }
    return Launch(deform_conv_bwd_weight_kernel, (steps, programs), arguments, config.options()), sums


def gradients(call: Call, grad: Tensor, weight: Tensor, floating: bool) -> Gradients:
    """Gradients of x, predicted, flow, weight (Cout,C,3,3), and of the bias in the type of sums."""
    launch, bias_sums = bias_launch(call, grad)
    launch.run()
    bound = None if floating else bound_of(call, bias_sums)
    launch, (dx, dpredicted, dflow) = features_launch(call, grad, bound)
    launch.run()
    if bound is None:
        dx = dx.to(call.x.dtype)
    else:
        launch, dx = convert_launch(call, dx, bound)
        launch.run()
    launch, sums = weight_launch(call, grad)
    launch.run()
    dw = sums.gradients()[0].permute(2, 1, 0).reshape(weight.shape).to(weight.dtype)
    return dx, dpredicted, dflow, dw, bias_sums.gradients()[0].clone()
