"""Attention along time through `scaled_dot_product_attention`."""

import torch
from torch import Tensor
from torch.nn import functional as F

from spikevrt_kernels.temporal_attention.reference import merge_heads, split_heads

CUDA_MAX_SEQUENCES = 65_535
"""CUDA's grids end here: more sequences in one call fail."""


def split_size(q: Tensor, heads: int) -> int:
    """Pixels that one call may take: all on CPU, below the grid's limit on CUDA."""
    return (CUDA_MAX_SEQUENCES - 1) // heads if q.is_cuda else q.shape[0]


def temporal_attention_sdpa(q: Tensor, k: Tensor, v: Tensor, heads: int, dropout_p: float = 0.0) -> Tensor:
    """softmax(q k^T / sqrt(D)) v along T; shapes as `temporal_attention`."""
    B, _, _, H, W = q.shape
    q, k, v = (split_heads(x, heads).flatten(0, 2) for x in (q, k, v))  # (B*H*W,heads,T,D)
    most = split_size(q, heads)
    parts = zip(q.split(most), k.split(most), v.split(most), strict=True)
    out = [F.scaled_dot_product_attention(*part, dropout_p=dropout_p) for part in parts]
    joined = out[0] if len(out) == 1 else torch.cat(out)
    return merge_heads(joined.unflatten(0, (B, H, W)))
