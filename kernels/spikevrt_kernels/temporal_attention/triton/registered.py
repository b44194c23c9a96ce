"""The registered operator of the `triton` backend: one forward kernel, and one backward kernel that recomputes."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from spikevrt_kernels.core.direct import differentiated, followed
from spikevrt_kernels.core.launch import draw_seed, noting


def run_forward(q: Tensor, k: Tensor, v: Tensor, heads: int, dropout_p: float, seed: Tensor | None) -> Tensor:
    """The forward; shapes as in `temporal_attention`, seed (1,) int64 or None without dropout."""
    from spikevrt_kernels.temporal_attention.triton.launch import forward_launch

    launch, out = forward_launch(q, k, v, heads, dropout_p, seed)
    launch.run()
    return out


forward = torch.library.custom_op("spikevrt::temporal_attention", run_forward, mutates_args=())


@forward.register_fake
def _(q: Tensor, *others: Any) -> Tensor:
    return run_forward(q, *others) if noting() else q.new_empty(q.shape)


def run_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, heads: int, dropout_p: float, seed: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """dq, dk, dv for a gradient (B,C,Tq,H,W); the probabilities are recomputed."""
    from spikevrt_kernels.temporal_attention.triton.launch import backward_launch

    launch, gradients = backward_launch(grad, q, k, v, heads, dropout_p, seed)
    launch.run()
    return gradients


backward = torch.library.custom_op("spikevrt::temporal_attention_backward", run_backward, mutates_args=())


@backward.register_fake
def _(grad: Tensor, q: Tensor, k: Tensor, v: Tensor, *others: Any) -> tuple[Tensor, Tensor, Tensor]:
    if noting():
        return run_backward(grad, q, k, v, *others)
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    """Save the inputs for the backward pass, and nothing else."""
    q, k, v, ctx.heads, ctx.dropout_p, seed = inputs
    ctx.save_for_backward(q, k, v, seed)


def differentiate(
    ctx: Any, grad: Tensor, run: Callable[..., tuple[Tensor, Tensor, Tensor]] = backward
) -> tuple[Tensor | None, ...]:
    """Gradients of the arguments of `forward`."""
    q, k, v, seed = ctx.saved_tensors
    return *run(grad, q, k, v, ctx.heads, ctx.dropout_p, seed), None, None, None


forward.register_autograd(differentiate, setup_context=setup_context)


class Direct(torch.autograd.Function):
    """The same operator, called without PyTorch's dispatcher."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        output = run_forward(*inputs)
        setup_context(ctx, inputs, output)
        return output

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return differentiate(ctx, grad, backward if torch.is_grad_enabled() else run_backward)


def temporal_attention_fused(q: Tensor, k: Tensor, v: Tensor, heads: int, dropout_p: float = 0.0) -> Tensor:
    """softmax(q k^T / sqrt(D)) v along T in one kernel; shapes as in `temporal_attention`."""
    seed = draw_seed(q.device) if dropout_p > 0 else None
    tensors = q, k.to(q.dtype), v.to(q.dtype)
    run = forward if followed(*tensors) else Direct.apply if differentiated(*tensors) else run_forward
    return run(*tensors, heads, dropout_p, seed)
