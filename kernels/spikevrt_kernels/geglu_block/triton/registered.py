"""The registered operator of the `triton` backend: one forward kernel, and two backward kernels that recompute.

It takes its tensors one by one, and is the block without aligned frames and the fusion with them.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from spikevrt_kernels.core.precision import dot_type
from spikevrt_kernels.core.registered import Registered
from spikevrt_kernels.core.residual_blocks import Norm
from spikevrt_kernels.geglu_block.reference import GEGLUWeights

if TYPE_CHECKING:
    from spikevrt_kernels.geglu_block.triton.launch import Call


def call_of(x: Tensor, aligned: Tensor | None, gamma: Tensor | None, beta: Tensor | None, *others: Any) -> "Call":
    """The record of a call from the arguments of `run_forward`; the matrices are converted to the products' type."""
    from spikevrt_kernels.geglu_block.triton.launch import Call

    w11, b11, w12, b12, w2, b2, scale, dot = others
    weights = GEGLUWeights((w11.to(dot), b11), (w12.to(dot), b12), (w2.to(dot), b2))
    norm = None if gamma is None or beta is None else (gamma, beta)
    return Call(x, aligned, norm, weights, scale, dot)


def run_forward(
    x: Tensor,
    aligned: Tensor | None,
    gamma: Tensor | None,
    beta: Tensor | None,
    w11: Tensor,
    b11: Tensor,
    w12: Tensor,
    b12: Tensor,
    w2: Tensor,
    b2: Tensor,
    scale: Tensor | None,
    dot: torch.dtype,
) -> Tensor:
    """The fusion if there are aligned frames, else the block; shapes as in `geglu_fuse` and `geglu_block`."""
    from spikevrt_kernels.geglu_block.triton.launch import forward_launch

    launch, out = forward_launch(call_of(x, aligned, gamma, beta, w11, b11, w12, b12, w2, b2, scale, dot))
    launch.run()
    return out


def like_forward(x: Tensor, aligned: Tensor | None, *others: Any) -> Tensor:
    """The output without values."""
    return x.new_empty(x.shape, dtype=x.dtype if aligned is None else others[-1])


def run_backward(
    grad: Tensor,
    x: Tensor,
    aligned: Tensor | None,
    gamma: Tensor | None,
    beta: Tensor | None,
    w11: Tensor,
    b11: Tensor,
    w12: Tensor,
    b12: Tensor,
    w2: Tensor,
    b2: Tensor,
    scale: Tensor | None,
    dot: torch.dtype,
) -> list[Tensor]:
    """Gradients of the tensors in order, without those that are None, and without the scale."""
    from spikevrt_kernels.geglu_block.triton.launch import dx_launch, weights_launch

    call = call_of(x, aligned, gamma, beta, w11, b11, w12, b12, w2, b2, scale, dot)
    launch, (dx, daligned, sums) = dx_launch(call, grad)
    launch.run()
    db2, *norm = sums.gradients()
    launch, sums = weights_launch(call, grad)
    launch.run()
    dw11, dw12, dw2, db11, db12 = sums.gradients()
    # One copy converts all of them, and takes them out of the memory that they share.
    weights = [t for t in (gamma, beta, w11, b11, w12, b12, w2, b2) if t is not None]
    gradients = [w.new_empty(w.shape) for w in weights]
    torch._foreach_copy_(gradients, [*norm, dw11, db11, dw12, db12, dw2, db2])
    return [dx, *([] if daligned is None else [daligned]), *gradients]


def like_backward(grad: Tensor, *inputs: Any) -> list[Tensor]:
    """The gradients without values."""
    return [t.new_empty(t.shape) for t in inputs[:-2] if t is not None]


def save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    """Save the inputs and the weights for the backward pass, and nothing else."""
    *tensors, ctx.dot = inputs
    ctx.save_for_backward(*tensors)


def differentiate(ctx: Any, run: Callable[..., list[Tensor]], grad: Tensor) -> tuple[Tensor | None, ...]:
    """Gradients of the arguments of `run_forward`."""
    tensors = ctx.saved_tensors
    found = iter(run(grad.contiguous(), *tensors, ctx.dot))
    return *(None if t is None else next(found) for t in tensors[:-1]), None, None


REGISTERED = Registered("geglu_block", run_forward, run_backward, like_forward, like_backward, save, differentiate)


def geglu_fused(
    x: Tensor, aligned: Tensor | None, norm: Norm | None, weights: GEGLUWeights, scale: Tensor | None
) -> Tensor:
    """The fusion if there are aligned frames, else the block, in one kernel; shapes as in the public functions."""
    frames = None if aligned is None else aligned.to(x.dtype).contiguous()
    gamma, beta = (None, None) if norm is None else (norm[0].contiguous(), norm[1].contiguous())
    layers = [t.contiguous() for layer in weights for t in layer]
    samples = None if scale is None else scale.contiguous()
    return REGISTERED(x.contiguous(), frames, gamma, beta, *layers, samples, dot_type(x))
