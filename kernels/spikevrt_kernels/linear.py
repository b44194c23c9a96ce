"""Linear layers on maps of tokens, computed by oneDNN on the CPU.

PyTorch computes a float32 linear layer with its BLAS, and a convolution with oneDNN. The BLAS in PyTorch's packages
does not use AVX-512 on every processor that has it; there, a 1x1 convolution takes less than half the time for the
same product.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikevrt_kernels.core.backends import runs_on_cpu

LEAST_ROWS = 16
"""With one thread, a 1x1 convolution of fewer images would use a slower kernel."""


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W^T + b.

    Args:
        x: (...,C).
        weight: (Cout,C).
        bias: (Cout,) or None.

    Returns:
        (...,Cout), contiguous.
    """
    if not suits_convolution(x, weight):
        return F.linear(x, weight, bias)
    rows = x.flatten(0, -3).unsqueeze(1)  # (R,1,W,C), images with a height of 1, channels last
    y = F.conv2d(rows.permute(0, 3, 1, 2), weight[:, :, None, None], bias)
    return y.permute(0, 2, 3, 1).view(*x.shape[:-1], weight.shape[0])


def suits_convolution(x: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN should compute the product: float32 on the CPU, and autocast does not change the type."""
    if not runs_on_cpu(x) or torch.compiler.is_compiling():
        return False
    if not (torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled):
        return False
    if {x.dtype, weight.dtype} != {torch.float32} or torch.is_autocast_enabled("cpu"):
        return False
    return x.ndim > 2 and x.is_contiguous() and math.prod(x.shape[:-2]) >= LEAST_ROWS


class Linear(nn.Linear):
    """`nn.Linear`, computed by `linear`; parameters and their initialisation are the same."""

    def forward(self, x: Tensor) -> Tensor:
        """(...,C) -> (...,Cout)."""
        return linear(x, self.weight, self.bias)
