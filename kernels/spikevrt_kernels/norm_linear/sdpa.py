"""Layer norm and a linear layer that oneDNN computes on the CPU: the backend of everything but GPUs."""

from torch import Tensor

from spikevrt_kernels.core.residual_blocks import Norm, layer_norm
from spikevrt_kernels.linear import linear


def norm_linear_sdpa(x: Tensor, norm: Norm, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """LN(x) W^T + b; shapes as in `norm_linear`."""
    return linear(layer_norm(x, norm), weight, bias)
