"""Attention along time through `scaled_dot_product_attention`."""

import torch
from torch import Tensor
from torch.nn import functional as F

from spikevrt_kernels.temporal_attention.reference import merge_heads, split_heads

CUDA_MAX_SEQUENCES = 65_535
"""CUDA's grids end here: more sequences in one call fail."""


def temporal_attention_sdpa(q: Tensor, k: Tensor, v: Tensor, heads: int, dropout_p: float = 0.0) -> Tensor:
    """softmax(q k^T / sqrt(D)) v along T; shapes as `temporal_attention`."""
    B, _, _, H, W = q.shape
    q, k, v = (split_heads(x, heads).flatten(0, 2) for x in (q, k, v))  # (B*H*W,heads,T,D)
    most = CUDA_MAX_SEQUENCES // heads if q.is_cuda else q.shape[0]
    parts = zip(q.split(most), k.split(most), v.split(most), strict=True)
    out = [F.scaled_dot_product_attention(*part, dropout_p=dropout_p) for part in parts]
    joined = out[0] if len(out) == 1 else torch.cat(out)
    return merge_heads(joined.unflatten(0, (B, H, W)))
