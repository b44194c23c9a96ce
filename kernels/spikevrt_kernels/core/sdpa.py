"""Calls `scaled_dot_product_attention` in parts that are small enough for CUDA."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from spikevrt_kernels.core.backends import runs_on_cuda

CUDA_MAX_SEQUENCES = 65_535
"""More sequences (times heads) than this in one call exceed the size of CUDA's grids."""


def split_size(q: Tensor) -> int:
    """Number of sequences per call, each with all its heads: all on the CPU, within the grid's limit on CUDA."""
    return (CUDA_MAX_SEQUENCES - 1) // q.shape[1] if runs_on_cuda(q) else max(q.shape[0], 1)


def attention_in_parts(q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Tensor:
    """softmax(q k^T / sqrt(D)) v for any number of sequences.

    Args:
        q: (S,heads,N,D).
        k: (S,heads,M,D).
        v: (S,heads,M,D).
        options: options of `scaled_dot_product_attention`; a mask must be the same for all sequences.

    Returns:
        (S,heads,N,D).
    """
    most = split_size(q)
    parts = zip(q.split(most), k.split(most), v.split(most), strict=True)
    out = [F.scaled_dot_product_attention(*part, **options) for part in parts]
    return out[0] if len(out) == 1 else torch.cat(out)
