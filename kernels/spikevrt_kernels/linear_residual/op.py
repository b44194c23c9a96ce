"""The public function: a residual linear branch with any backend."""

from torch import Tensor

from spikevrt_kernels.core.backends import resolve_backend
from spikevrt_kernels.linear_residual.reference import linear_residual_reference
from spikevrt_kernels.linear_residual.sdpa import linear_residual_sdpa
from spikevrt_kernels.linear_residual.triton.registered import linear_residual_fused

BACKENDS = {"triton": linear_residual_fused, "sdpa": linear_residual_sdpa, "naive": linear_residual_reference}


def linear_residual(
    x: Tensor,
    o: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    scale: Tensor | None = None,
    backend: str = "auto",
) -> Tensor:
    """x + scale (o W^T + b).

    Args:
        x: (B,...,C) floating point, contiguous (`triton` copies what is not, also of o).
        o: (B,...,K), the input of the branch; its type may be another one.
        weight: (C,K), any C and K from 1.
        bias: (C,) or None.
        scale: (B,) float32, a factor for each sample (drop path: 0 or 1 / keep), without a gradient; or None = 1.
        backend: auto, triton, sdpa or naive.

    Returns:
        (B,...,C) in the type of x; `triton` rounds the sum once.

    Raises:
        BackendError: `backend` cannot run.
        ValueError: the shapes of x, o, weight, bias and scale do not fit.
    """
    require_shapes(x, o, weight, bias, scale)
    chosen = resolve_backend(backend, "linear_residual", x, o)
    return BACKENDS[chosen](x, o, weight, bias, scale)


def require_shapes(x: Tensor, o: Tensor, weight: Tensor, bias: Tensor | None, scale: Tensor | None) -> None:
    """Raise a `ValueError` unless all shapes fit: kernels would read other memory."""
    C, K = x.shape[-1], o.shape[-1]
    if x.shape[:-1] != o.shape[:-1] or weight.shape != (C, K):
        shapes = f"{tuple(x.shape)}, {tuple(o.shape)} and {tuple(weight.shape)}"
        raise ValueError(f"linear_residual: x, o and weight are {shapes}; they must be (...,C), (...,K) and (C,K)")
    if bias is not None and bias.shape != (C,):
        raise ValueError(f"linear_residual: x has {C} channels; a bias of {tuple(bias.shape)} does not fit them")
    if scale is not None and scale.shape != x.shape[:1]:
        raise ValueError(f"linear_residual: x has {x.shape[0]} samples; a scale of {tuple(scale.shape)} does not fit")
