"""Attention along time through `scaled_dot_product_attention`."""

from torch import Tensor

from spikevrt_kernels.core.sdpa import attention_in_parts
from spikevrt_kernels.temporal_attention.reference import merge_heads, split_heads


def temporal_attention_sdpa(q: Tensor, k: Tensor, v: Tensor, heads: int, dropout_p: float = 0.0) -> Tensor:
    """softmax(q k^T / sqrt(D)) v along T; shapes as in `temporal_attention`."""
    B, _, _, H, W = q.shape
    q, k, v = (split_heads(x, heads).flatten(0, 2) for x in (q, k, v))  # (B*H*W,heads,T,D)
    return merge_heads(attention_in_parts(q, k, v, dropout_p=dropout_p).unflatten(0, (B, H, W)))
