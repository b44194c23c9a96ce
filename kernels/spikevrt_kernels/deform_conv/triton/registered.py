"""The registered operator of the `triton` backend: one forward kernel, and a backward that gathers again."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from spikevrt_kernels.core.launch import without_values
from spikevrt_kernels.core.precision import accumulation_dtype, dot_type
from spikevrt_kernels.core.registered import Registered
from spikevrt_kernels.core.sums import float_atomics


def run_forward(
    x: Tensor,
    predicted: Tensor,
    flow: Tensor,
    weight: Tensor,
    bias: Tensor,
    max_residue: float,
    dot: torch.dtype,
    overwrite: bool = False,
) -> Tensor:
    """The forward on contiguous features; shapes as in `flow_guided_deform_conv`, flow in the type of sums."""
    from spikevrt_kernels.deform_conv.triton.launch import Call, forward_launch, taps_first

    launch, out = forward_launch(Call(x, predicted, flow, taps_first(weight, dot), max_residue, dot), bias)
    launch.run()
    return out


def like_forward(x: Tensor, predicted: Tensor, flow: Tensor, weight: Tensor, *others: Any) -> Tensor:
    """The output without values."""
    dot = others[2]
    B, T, H, W, _ = x.shape
    return x.new_empty((2, B, T - 1, H, W, weight.shape[0]), dtype=dot)


def all_gradients(
    grad: Tensor,
    x: Tensor,
    predicted: Tensor,
    flow: Tensor,
    weight: Tensor,
    max_residue: float,
    dot: torch.dtype,
    over: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The result of `run_backward`, the gradient of `predicted` in `over` if that is given."""
    from spikevrt_kernels.deform_conv.triton.launch import Call, taps_first
    from spikevrt_kernels.deform_conv.triton.launch_backward import gradients

    call = Call(x, predicted, flow, taps_first(weight, dot), max_residue, dot)
    return gradients(call, grad, weight, float_atomics(), over)


def run_backward(
    grad: Tensor,
    x: Tensor,
    predicted: Tensor,
    flow: Tensor,
    weight: Tensor,
    max_residue: float,
    dot: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, predicted, flow, weight, and of the bias in the type of sums, for a gradient like the output."""
    return all_gradients(grad, x, predicted, flow, weight, max_residue, dot)


def like_backward(
    grad: Tensor, x: Tensor, predicted: Tensor, flow: Tensor, weight: Tensor, max_residue: float, dot: torch.dtype
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients without values."""
    bias = weight.new_empty(weight.shape[0], dtype=accumulation_dtype(dot))
    return *(t.new_empty(t.shape) for t in (x, predicted, flow, weight)), bias


def run_backward_over(
    grad: Tensor,
    x: Tensor,
    predicted: Tensor,
    flow: Tensor,
    weight: Tensor,
    max_residue: float,
    dot: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`run_backward` that leaves the gradient of `predicted` there, and gives the others."""
    dx, _, *others = all_gradients(grad, x, predicted, flow, weight, max_residue, dot, predicted)
    return dx, *others


def like_backward_over(*inputs: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients without values."""
    dx, _, *others = like_backward(*inputs)
    return dx, *others


backward_over = torch.library.custom_op(
    "spikevrt::deform_conv_backward_over", run_backward_over, mutates_args=("predicted",)
)
backward_over.register_fake(without_values(run_backward_over, like_backward_over))


def save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    """Save the inputs for the backward pass, and nothing else."""
    *tensors, bias, ctx.max_residue, ctx.dot, ctx.overwrite = inputs
    ctx.bias_type = bias.dtype
    ctx.save_for_backward(*tensors)


def differentiate(ctx: Any, run: Callable[..., tuple[Tensor, ...]], grad: Tensor) -> tuple[Tensor | None, ...]:
    """Gradients of the arguments of `run_forward`."""
    saved, grad = ctx.saved_tensors, grad.contiguous()
    if ctx.overwrite:
        over = run_backward_over if run is run_backward else backward_over
        predicted = saved[1].detach()
        dx, *others, bias = over(grad, saved[0], predicted, *saved[2:], ctx.max_residue, ctx.dot)
        if over is run_backward_over:
            torch.autograd.graph.increment_version(predicted)
        found = [dx, predicted, *others]
    else:
        *found, bias = run(grad, *saved, ctx.max_residue, ctx.dot)
    return *found, bias.to(ctx.bias_type), None, None, None


REGISTERED = Registered("deform_conv", run_forward, run_backward, like_forward, like_backward, save, differentiate)


def flow_guided_deform_conv_fused(
    x: Tensor, predicted: Tensor, flow: Tensor, weight: Tensor, bias: Tensor, max_residue: float, overwrite: bool
) -> Tensor:
    """The convolution of every neighbour around its flow in one kernel; shapes as in `flow_guided_deform_conv`."""
    dot = dot_type(x)
    features = (x.contiguous(), predicted.contiguous(), flow.to(accumulation_dtype(dot)).contiguous())
    return REGISTERED(*features, weight, bias, float(max_residue), dot, overwrite)
