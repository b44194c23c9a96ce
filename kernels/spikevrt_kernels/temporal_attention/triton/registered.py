"""The registered operator of the `triton` backend: one forward kernel, and one backward kernel that recomputes."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from spikevrt_kernels.core.launch import draw_seed
from spikevrt_kernels.core.registered import Registered


def run_forward(q: Tensor, k: Tensor, v: Tensor, heads: int, dropout_p: float, seed: Tensor | None) -> Tensor:
    """The forward; shapes as in `temporal_attention`, seed (1,) int64 or None without dropout."""
    from spikevrt_kernels.temporal_attention.triton.launch import forward_launch

    launch, out = forward_launch(q, k, v, heads, dropout_p, seed)
    launch.run()
    return out


def like_forward(q: Tensor, *others: Any) -> Tensor:
    """The output without values."""
    return q.new_empty(q.shape)


def run_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, heads: int, dropout_p: float, seed: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """dq, dk, dv for a gradient (B,C,Tq,H,W); the probabilities are recomputed."""
    from spikevrt_kernels.temporal_attention.triton.launch import backward_launch

    launch, gradients = backward_launch(grad, q, k, v, heads, dropout_p, seed)
    launch.run()
    return gradients


def like_backward(grad: Tensor, q: Tensor, k: Tensor, v: Tensor, *others: Any) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients without values."""
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


def save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    """Save the inputs for the backward pass, and nothing else."""
    q, k, v, ctx.heads, ctx.dropout_p, seed = inputs
    ctx.save_for_backward(q, k, v, seed)


def differentiate(
    ctx: Any, run: Callable[..., tuple[Tensor, Tensor, Tensor]], grad: Tensor
) -> tuple[Tensor | None, ...]:
    """Gradients of the arguments of `run_forward`."""
    q, k, v, seed = ctx.saved_tensors
    return *run(grad, q, k, v, ctx.heads, ctx.dropout_p, seed), None, None, None


REGISTERED = Registered(
    "temporal_attention", run_forward, run_backward, like_forward, like_backward, save, differentiate
)


def temporal_attention_fused(q: Tensor, k: Tensor, v: Tensor, heads: int, dropout_p: float = 0.0) -> Tensor:
    """softmax(q k^T / sqrt(D)) v along T in one kernel; shapes as in `temporal_attention`."""
    seed = draw_seed(q.device) if dropout_p > 0 else None
    return REGISTERED(q, k.to(q.dtype), v.to(q.dtype), heads, dropout_p, seed)
