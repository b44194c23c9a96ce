"""The pre-norm block along time on the CPU, for the `sdpa` backend and one chunk of pixels.

Layer norm needs the channels of a token to be contiguous, attention the pixels of a channel. Matrix products can read
and write both layouts, so they change the layout. Features that are channels last are not copied.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from spikevrt_kernels.core.residual_blocks import layer_norm
from spikevrt_kernels.temporal_attention.cpu import attend_pixels
from spikevrt_kernels.temporal_block.reference import BlockWeights


class Turn(torch.autograd.Function):
    """(M,N) -> (N,M) as a copy, forward and backward: torch transposes in blocks only if there are 2 axes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.t().contiguous()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return Turn.apply(grad)


def to_tokens(x: Tensor) -> Tensor:
    """(B,C,T,h,w) -> (B*T*h*w,C); channels last in memory, as the model has them, are not copied."""
    if x.stride(1) == 1:
        return x.permute(0, 2, 3, 4, 1).reshape(-1, x.shape[1])
    return Turn.apply(x.transpose(0, 1).flatten(1))


def from_tokens(tokens: Tensor, shape: torch.Size) -> Tensor:
    """(B*T*h*w,C) -> (B,C,T,h,w) of `shape`, channels last in memory."""
    B, C, T, h, w = shape
    return tokens.view(B, T, h, w, C).permute(0, 4, 1, 2, 3)


def project(tokens: Tensor, weight: Tensor, bias: Tensor, shape: torch.Size, heads: int) -> tuple[Tensor, ...]:
    """Project tokens (N,C) -> one (B,heads,D,T,P) per C rows of `weight`."""
    B, C, T, h, w = shape
    out = torch.addmm(bias[:, None], weight, tokens.t())
    return out.view(-1, heads, C // heads, B, T, h * w).permute(0, 3, 1, 2, 4, 5).unbind()


def temporal_block_cpu(
    x: Tensor, context: Tensor | None, weights: BlockWeights, heads: int, dropout_p: float
) -> Tensor:
    """y = x + MHA(LN x, LN context); y + MLP(LN y), all along T; shapes as in `temporal_block`."""
    C, (w, b) = x.shape[1], weights.in_proj
    tokens = to_tokens(x)
    queries = layer_norm(tokens, weights.norm_q)
    if context is None:
        q, k, v = project(queries, w, b, x.shape, heads)
    else:
        assert weights.norm_kv is not None
        keys = layer_norm(to_tokens(context), weights.norm_kv)
        (q,) = project(queries, w[:C], b[:C], x.shape, heads)
        k, v = project(keys, w[C:], b[C:], context.shape, heads)
    attended = attend_pixels(q, k, v, dropout_p).permute(1, 2, 0, 3, 4).reshape(C, -1)
    y = tokens + F.linear(attended.t(), *weights.out_proj)
    hidden = F.gelu(F.linear(layer_norm(y, weights.norm_mlp), *weights.mlp_in))
    return from_tokens(y + F.linear(hidden, *weights.mlp_out), x.shape)
