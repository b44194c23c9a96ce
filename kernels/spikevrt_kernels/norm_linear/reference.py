"""Layer norm and a linear layer in plain PyTorch: the `naive` backend."""

from torch import Tensor
from torch.nn import functional as F

EPS = 1e-5
Norm = tuple[Tensor, Tensor]
"""gamma (C,) and beta (C,)."""


def norm_linear_reference(x: Tensor, norm: Norm, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """LN(x) W^T + b; shapes as in `norm_linear`."""
    return F.linear(F.layer_norm(x, x.shape[-1:], *norm, EPS), weight, bias)
