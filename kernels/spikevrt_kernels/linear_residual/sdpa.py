"""A residual linear branch that oneDNN computes on the CPU: the backend of everything but GPUs."""

from torch import Tensor

from spikevrt_kernels.core.residual_blocks import add_branch
from spikevrt_kernels.linear import linear


def linear_residual_sdpa(
    x: Tensor, o: Tensor, weight: Tensor, bias: Tensor | None = None, scale: Tensor | None = None
) -> Tensor:
    """x + scale (o W^T + b); shapes as in `linear_residual`."""
    return add_branch(x, linear(o, weight, bias), scale)
