"""Attention along time in plain PyTorch: the `naive` backend."""

from torch import Tensor
from torch.nn import functional as F

from spikevrt_kernels.core.precision import softmax_fp32


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B,C,T,H,W) -> (B,H,W,heads,T,C/heads), a view."""
    B, C, T, H, W = x.shape
    return x.reshape(B, heads, C // heads, T, H, W).permute(0, 4, 5, 1, 3, 2)


def merge_heads(x: Tensor) -> Tensor:
    """(B,H,W,heads,T,D) -> (B,heads*D,T,H,W)."""
    B, H, W, heads, T, D = x.shape
    return x.permute(0, 3, 5, 4, 1, 2).reshape(B, heads * D, T, H, W)


def temporal_attention_reference(q: Tensor, k: Tensor, v: Tensor, heads: int, dropout_p: float = 0.0) -> Tensor:
    """softmax(q k^T / sqrt(D)) v along T; shapes as in `temporal_attention`."""
    q, k, v = (split_heads(x, heads) for x in (q, k, v))  # (B,H,W,heads,T,D)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)  # (B,H,W,heads,Tq,Tk)
    probabilities = F.dropout(softmax_fp32(scores), dropout_p, training=dropout_p > 0)
    return merge_heads(probabilities @ v)
