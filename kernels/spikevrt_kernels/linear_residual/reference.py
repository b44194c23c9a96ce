"""A residual linear branch in plain PyTorch: the `naive` backend."""

from torch import Tensor
from torch.nn import functional as F


def linear_residual_reference(
    x: Tensor, o: Tensor, weight: Tensor, bias: Tensor | None = None, scale: Tensor | None = None
) -> Tensor:
    """x + scale (o W^T + b); shapes as in `linear_residual`."""
    return add_branch(x, F.linear(o, weight, bias), scale)


def add_branch(x: Tensor, branch: Tensor, scale: Tensor | None) -> Tensor:
    """x + scale * branch in the type of x; a float32 scale makes the sum float32 before it is rounded."""
    if scale is not None:
        branch = branch * scale.view(-1, *(1,) * (x.ndim - 1))
    return (x + branch).to(x.dtype)
