"""The block and the fusion in PyTorch with less memory, and oneDNN's products on the CPU.

`sdpa` is the name of the form without kernels that is fastest, for all operators.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from spikevrt_kernels.core.residual_blocks import Norm
from spikevrt_kernels.geglu_block.reference import GEGLUWeights, geglu_reference
from spikevrt_kernels.linear import linear


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
    return geglu_reference(x, aligned, norm, weights, scale, linear, GatedGELU.apply)
