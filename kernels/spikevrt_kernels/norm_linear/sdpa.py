"""Layer norm and a linear layer that oneDNN computes on the CPU: the backend of everything but GPUs."""

from torch import Tensor
from torch.nn import functional as F

from spikevrt_kernels.linear import linear
from spikevrt_kernels.norm_linear.reference import EPS, Norm


def norm_linear_sdpa(x: Tensor, norm: Norm, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """LN(x) W^T + b; shapes as in `norm_linear`."""
    return linear(F.layer_norm(x, x.shape[-1:], *norm, EPS), weight, bias)
