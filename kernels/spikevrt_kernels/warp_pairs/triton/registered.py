"""The registered operator of the `triton` backend: one forward kernel, and a backward that samples again."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from spikevrt_kernels.core.precision import accumulation_dtype
from spikevrt_kernels.core.registered import Registered
from spikevrt_kernels.core.sums import float_atomics


def run_forward(x: Tensor, flow: Tensor) -> Tensor:
    """The forward; both contiguous, shapes as in `warp_pairs`, flow in the type of sums."""
    from spikevrt_kernels.warp_pairs.triton.launch import Call, forward_launch

    launch, out = forward_launch(Call(x, flow))
    launch.run()
    return out


def like_forward(x: Tensor, flow: Tensor) -> Tensor:
    """The output without values."""
    N, _, H, W = flow.shape
    return x.new_empty((N, H, W, 2 * x.shape[-1] + 2))


def run_backward(grad: Tensor, x: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of x and flow for a gradient like the output."""
    from spikevrt_kernels.warp_pairs.triton.launch import Call, gradients

    return gradients(Call(x, flow), grad, float_atomics())


def like_backward(grad: Tensor, x: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients without values."""
    return x.new_empty(x.shape), flow.new_empty(flow.shape)


def save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    """Save the inputs for the backward pass, and nothing else."""
    ctx.save_for_backward(*inputs)


def differentiate(ctx: Any, run: Callable[..., tuple[Tensor, ...]], grad: Tensor) -> tuple[Tensor, ...]:
    """Gradients of the arguments of `run_forward`."""
    return run(grad.contiguous(), *ctx.saved_tensors)


REGISTERED = Registered("warp_pairs", run_forward, run_backward, like_forward, like_backward, save, differentiate)


def warp_pairs_fused(x: Tensor, flow: Tensor) -> Tensor:
    """The channels of all pairs by one kernel; shapes as in `warp_pairs`."""
    return REGISTERED(x.contiguous(), flow.to(accumulation_dtype(x.dtype)).contiguous())
