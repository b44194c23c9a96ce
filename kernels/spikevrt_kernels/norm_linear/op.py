"""The public function: layer norm and a linear layer with any backend."""

from torch import Tensor

from spikevrt_kernels.core.backends import resolve_backend
from spikevrt_kernels.core.residual_blocks import Norm
from spikevrt_kernels.norm_linear.reference import norm_linear_reference
from spikevrt_kernels.norm_linear.sdpa import norm_linear_sdpa
from spikevrt_kernels.norm_linear.triton.registered import norm_linear_fused

BACKENDS = {"triton": norm_linear_fused, "sdpa": norm_linear_sdpa, "naive": norm_linear_reference}


def norm_linear(x: Tensor, norm: Norm, weight: Tensor, bias: Tensor | None = None, backend: str = "auto") -> Tensor:
    """LN(x) W^T + b, where LN(x) = (x - mean) / sqrt(variance + 1e-5) gamma + beta over the last axis.

    Args:
        x: (...,C) floating point, contiguous (`triton` copies what is not).
        norm: gamma (C,) and beta (C,).
        weight: (N,C), any C and N from 1.
        bias: (N,) or None.
        backend: auto, triton, sdpa or naive.

    Returns:
        (...,N) in the type of the product: autocast's, else that of x.

    Raises:
        BackendError: `backend` cannot run.
        ValueError: the widths of x, norm, weight and bias do not fit.
    """
    require_widths(x, norm, weight, bias)
    return BACKENDS[resolve_backend(backend, "norm_linear", x)](x, norm, weight, bias)


def require_widths(x: Tensor, norm: Norm, weight: Tensor, bias: Tensor | None) -> None:
    """Raise a `ValueError` unless all widths fit: kernels would read other memory."""
    C, N = x.shape[-1], weight.shape[0]
    if any(vector.shape != (C,) for vector in norm) or weight.shape != (N, C):
        shapes = ", ".join(str(tuple(t.shape)) for t in (*norm, weight))
        raise ValueError(f"norm_linear: x has {C} channels; gamma, beta and weight {shapes} do not fit them")
    if bias is not None and bias.shape != (N,):
        raise ValueError(f"norm_linear: the weight has {N} rows; a bias of {tuple(bias.shape)} does not fit them")
