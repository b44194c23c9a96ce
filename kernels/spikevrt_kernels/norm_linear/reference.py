"""Layer norm and a linear layer in plain PyTorch: the `naive` backend."""

from torch import Tensor
from torch.nn import functional as F

from spikevrt_kernels.core.residual_blocks import Norm, layer_norm


def norm_linear_reference(x: Tensor, norm: Norm, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """LN(x) W^T + b; shapes as in `norm_linear`."""
    return F.linear(layer_norm(x, norm), weight, bias)
