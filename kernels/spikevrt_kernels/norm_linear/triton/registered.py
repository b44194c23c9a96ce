"""The registered operator of the `triton` backend: one forward kernel, and two backward kernels that recompute."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from spikevrt_kernels.core.precision import dot_type
from spikevrt_kernels.core.registered import Registered
from spikevrt_kernels.core.residual_blocks import Norm

if TYPE_CHECKING:
    from spikevrt_kernels.norm_linear.triton.launch import Call


def call_of(x: Tensor, gamma: Tensor, beta: Tensor, weight: Tensor, bias: Tensor | None, dot: torch.dtype) -> "Call":
    """The record of a call, as its kernels take it."""
    from spikevrt_kernels.norm_linear.triton.launch import Call

    return Call(x, (gamma, beta), weight.to(dot), bias, dot)


def run_forward(
    x: Tensor, gamma: Tensor, beta: Tensor, weight: Tensor, bias: Tensor | None, dot: torch.dtype
) -> Tensor:
    """The forward with products in the type `dot`; shapes as in `norm_linear`, everything contiguous."""
    from spikevrt_kernels.norm_linear.triton.launch import forward_launch

    launch, out = forward_launch(call_of(x, gamma, beta, weight, bias, dot))
    launch.run()
    return out


def like_forward(
    x: Tensor, gamma: Tensor, beta: Tensor, weight: Tensor, bias: Tensor | None, dot: torch.dtype
) -> Tensor:
    """The output without values."""
    return x.new_empty((*x.shape[:-1], weight.shape[0]), dtype=dot)


def run_backward(
    grad: Tensor,
    x: Tensor,
    gamma: Tensor,
    beta: Tensor,
    weight: Tensor,
    bias_type: torch.dtype | None,
    dot: torch.dtype,
) -> list[Tensor]:
    """dx, then the gradients of gamma, beta, W and, if there is one, b, from a gradient (...,N), contiguous."""
    from spikevrt_kernels.norm_linear.triton.launch import run_backward_launches

    dx, d_gamma, d_beta, d_weight, db = run_backward_launches(call_of(x, gamma, beta, weight, None, dot), grad)
    found = [dx, d_gamma.to(gamma.dtype), d_beta.to(beta.dtype), d_weight.to(weight.dtype)]
    # The sums are a view of much more.
    return found if bias_type is None else [*found, db.to(bias_type, copy=True)]


def like_backward(
    grad: Tensor,
    x: Tensor,
    gamma: Tensor,
    beta: Tensor,
    weight: Tensor,
    bias_type: torch.dtype | None,
    dot: torch.dtype,
) -> list[Tensor]:
    """The gradients without values."""
    found = [t.new_empty(t.shape) for t in (x, gamma, beta, weight)]
    return found if bias_type is None else [*found, weight.new_empty(weight.shape[0], dtype=bias_type)]


def save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    """Save x and the weights, and nothing else."""
    x, gamma, beta, weight, bias, ctx.dot = inputs
    ctx.bias_type = None if bias is None else bias.dtype
    ctx.save_for_backward(x, gamma, beta, weight)


def differentiate(ctx: Any, run: Callable[..., list[Tensor]], grad: Tensor) -> tuple[Tensor | None, ...]:
    """Gradients of the arguments of `run_forward`."""
    found = run(grad.contiguous(), *ctx.saved_tensors, ctx.bias_type, ctx.dot)
    return *found, *[None] * (6 - len(found))


REGISTERED = Registered("norm_linear", run_forward, run_backward, like_forward, like_backward, save, differentiate)


def norm_linear_fused(x: Tensor, norm: Norm, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """LN(x) W^T + b in one kernel; shapes as in `norm_linear`."""
    gamma, beta = (vector.contiguous() for vector in norm)
    bias = None if bias is None else bias.contiguous()
    return REGISTERED(x.contiguous(), gamma, beta, weight.contiguous(), bias, dot_type(x))
