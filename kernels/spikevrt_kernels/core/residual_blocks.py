"""What pre-norm residual blocks share in plain PyTorch: their layer norm, and how a branch is added."""

from torch import Tensor
from torch.nn import functional as F

EPS = 1e-5
"""Of all layer norms."""
Norm = tuple[Tensor, Tensor]
"""A layer norm's gamma (C,) and beta (C,)."""


def layer_norm(x: Tensor, norm: Norm) -> Tensor:
    """LayerNorm over the last axis."""
    return F.layer_norm(x, x.shape[-1:], *norm, EPS)


def add_branch(x: Tensor, branch: Tensor, scale: Tensor | None) -> Tensor:
    """x + scale * branch in the type of x; a float32 scale (B,) makes the sum float32 before it is rounded."""
    if scale is not None:
        branch = branch * scale.view(-1, *(1,) * (x.ndim - 1))
    return (x + branch).to(x.dtype)
