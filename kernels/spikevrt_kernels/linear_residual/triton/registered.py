"""The registered operator of the `triton` backend: one forward kernel, and two backward kernels."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from spikevrt_kernels.core.precision import dot_type
from spikevrt_kernels.core.registered import Registered


def run_forward(
    x: Tensor, o: Tensor, weight: Tensor, bias: Tensor | None, scale: Tensor | None, dot: torch.dtype
) -> Tensor:
    """The forward with products in the type `dot`; shapes as in `linear_residual`, everything contiguous."""
    from spikevrt_kernels.linear_residual.triton.launch import Call, forward_launch

    launch, out = forward_launch(Call(o, weight.to(dot), scale, dot), x, bias)
    launch.run()
    return out


def like_forward(x: Tensor, *others: Any) -> Tensor:
    """The output without values."""
    return x.new_empty(x.shape)


def run_backward(
    grad: Tensor, o: Tensor, weight: Tensor, scale: Tensor | None, bias_type: torch.dtype | None, dot: torch.dtype
) -> list[Tensor]:
    """The gradients of o, W and, if there is one, b, from a gradient (B,...,C), contiguous; that of x is `grad`."""
    from spikevrt_kernels.linear_residual.triton.launch import Call, do_launch, weights_launch

    call = Call(o, weight.to(dot), scale, dot)
    launch, do = do_launch(call, grad)
    launch.run()
    launch, sums = weights_launch(call, grad, bias_type is not None)
    launch.run()
    types = [weight.dtype, *([] if bias_type is None else [bias_type])]
    # The sums are views of one tensor.
    return [do, *(g.to(dtype, copy=True) for g, dtype in zip(sums.gradients(), types, strict=True))]


def like_backward(
    grad: Tensor, o: Tensor, weight: Tensor, scale: Tensor | None, bias_type: torch.dtype | None, dot: torch.dtype
) -> list[Tensor]:
    """The gradients without values."""
    found = [t.new_empty(t.shape) for t in (o, weight)]
    return found if bias_type is None else [*found, weight.new_empty(weight.shape[0], dtype=bias_type)]


def save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    """Save o, W and the scale, and nothing else."""
    _, o, weight, bias, scale, ctx.dot = inputs
    ctx.bias_type = None if bias is None else bias.dtype
    ctx.save_for_backward(o, weight, scale)


def differentiate(ctx: Any, run: Callable[..., list[Tensor]], grad: Tensor) -> tuple[Tensor | None, ...]:
    """Gradients of the arguments of `run_forward`."""
    do, dw, *db = run(grad.contiguous(), *ctx.saved_tensors, ctx.bias_type, ctx.dot)
    return grad, do, dw, db[0] if db else None, None, None


REGISTERED = Registered("linear_residual", run_forward, run_backward, like_forward, like_backward, save, differentiate)


def linear_residual_fused(
    x: Tensor, o: Tensor, weight: Tensor, bias: Tensor | None = None, scale: Tensor | None = None
) -> Tensor:
    """x + scale (o W^T + b) in one kernel; shapes as in `linear_residual`."""
    bias, scale = (None if t is None else t.contiguous() for t in (bias, scale))
    return REGISTERED(x.contiguous(), o.contiguous(), weight.contiguous(), bias, scale, dot_type(o))
