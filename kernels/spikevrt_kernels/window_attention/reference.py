"""Attention inside windows in plain PyTorch: the `naive` backend."""

from collections.abc import Callable

import torch
from torch import Tensor

from spikevrt_kernels.precision import softmax_fp32
from spikevrt_kernels.window_attention.windows import Regions

Attend = Callable[[Tensor, Tensor, Tensor, Tensor | None, Regions | None], Tensor]
"""Attention of one backend inside windows; arguments as `attend_windows_reference`."""
MASKED = -100.0
"""Added to the score of two tokens of different regions (finite, as the published weights were trained)."""


def region_mask(ids: Tensor, dtype: torch.dtype) -> Tensor:
    """(...,N) region ids -> (...,N,N): 0 inside a region, -100 across."""
    different = ids[..., :, None] != ids[..., None, :]
    return torch.zeros(different.shape, dtype=dtype, device=ids.device).masked_fill_(different, MASKED)


def attend_windows_reference(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, regions: Regions | None) -> Tensor:
    """softmax(q k^T + bias + mask) v in every window.

    Args:
        q: (B,nD,nH,nW,heads,N,E), scaled.
        k: (B,nD,nH,nW,heads,N,E).
        v: (B,nD,nH,nW,heads,N,E).
        bias: (heads,N,N) or None.
        regions: the regions of a shifted extent, or None where no token is masked.

    Returns:
        (B,nD,nH,nW,heads,N,E).
    """
    scores = q @ k.transpose(-2, -1)
    if bias is not None:
        scores = scores + bias.to(scores.dtype)
    if regions is not None:
        scores = scores + region_mask(regions.ids, scores.dtype).unsqueeze(-3)
    return softmax_fp32(scores) @ v
