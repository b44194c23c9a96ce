"""Linear layers on maps of tokens, on the CPU by oneDNN.

PyTorch gives a linear layer in float32 to its BLAS, and a convolution to oneDNN. The BLAS of its binaries does not
use AVX-512 on every processor that has it: there, the same product as a 1x1 convolution takes less than half the time.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikevrt_kernels.core.backends import runs_on_cpu

LEAST_ROWS = 16
"""A 1x1 convolution of fewer images goes to a slower kernel in a process of one thread."""


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
    rows = x.flatten(0, -3).unsqueeze(1)  # (R,1,W,C), images of one line, channels last
    y = F.conv2d(rows.permute(0, 3, 1, 2), weight[:, :, None, None], bias)
    return y.permute(0, 2, 3, 1).view(*x.shape[:-1], weight.shape[0])


def suits_convolution(x: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN takes the product: float32 on the CPU, and not half precision in an autocast region."""
    if not runs_on_cpu(x) or torch.compiler.is_compiling():
        return False
    if not (torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled):
        return False
    if {x.dtype, weight.dtype} != {torch.float32} or torch.is_autocast_enabled("cpu"):
        return False
    return x.ndim > 2 and x.is_contiguous() and math.prod(x.shape[:-2]) >= LEAST_ROWS


class Linear(nn.Linear):
    """`nn.Linear` by `linear`; parameters and their start are the same."""

    def forward(self, x: Tensor) -> Tensor:
        """(...,C) -> (...,Cout)."""
        return linear(x, self.weight, self.bias)
