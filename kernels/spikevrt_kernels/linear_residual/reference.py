"""A residual linear branch in plain PyTorch: the `naive` backend."""

from torch import Tensor
from torch.nn import functional as F

from spikevrt_kernels.core.residual_blocks import add_branch


def linear_residual_reference(
    x: Tensor, o: Tensor, weight: Tensor, bias: Tensor | None = None, scale: Tensor | None = None
) -> Tensor:
    """x + scale (o W^T + b); shapes as in `linear_residual`."""
    return add_branch(x, F.linear(o, weight, bias), scale)
