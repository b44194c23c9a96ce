"""The published temporal blocks: a Python loop over chunks of pixels around `torch.nn.MultiheadAttention`.

Written from the description of the published project, as the entry that everything else is compared with.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from spikevrt_kernels.temporal_block.chunks import Chunking

CHUNKING = Chunking()
"""MAX_BATCH_TOKENS 49152, CHUNK_SIZE 64, square: the published defaults."""


class PublishedBlock(nn.Module):
    """x + MHA(LN x, LN context); y + MLP(LN y) on tokens (S,T,C)."""

    def __init__(self, dim: int, heads: int, ratio: int, cross: bool) -> None:
        super().__init__()
        self.norm_q = nn.LayerNorm(dim)
        self.norm_kv = nn.LayerNorm(dim) if cross else None
        self.attn = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.norm_mlp = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, ratio * dim), nn.GELU(), nn.Linear(ratio * dim, dim))

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        """(S,T,C), and (S,Tk,C) or None -> (S,T,C)."""
        q = self.norm_q(x)
        kv = q if self.norm_kv is None else self.norm_kv(context)
        y = x + self.attn(q, kv, kv, need_weights=False)[0]
        return y + self.mlp(self.norm_mlp(y))


def published_block(x: Tensor, context: Tensor | None, parameters: Sequence[Tensor], heads: int) -> Tensor:
    """The block on features (B,C,T,H,W), chunk by chunk.

    Args:
        x: (B,C,T,H,W).
        context: (B,C,Tk,H,W), or None for self-attention.
        parameters: weights and biases in the order of `BlockWeights`, one after the other.
        heads: divides C.
    """
    B, C, _, H, W = x.shape
    with torch.device("meta"):
        block = PublishedBlock(C, heads, parameters[-2].shape[1] // C, context is not None)
    # Outside training torch.nn.MultiheadAttention has a faster way of its own.
    block.train(torch.is_grad_enabled())
    names = [name for name, _ in block.named_parameters()]
    state = dict(zip(names, parameters, strict=True))
    h, w = CHUNKING.tile(B, H, W)
    rows = []
    for r in spans(H, h):
        parts = []
        for c in spans(W, w):
            keys = None if context is None else to_tokens(context[..., r, c])
            part = x[..., r, c]
            out = functional_call(block, state, (to_tokens(part), keys))
            parts.append(from_tokens(out, part.shape))
        rows.append(torch.cat(parts, -1))
    return torch.cat(rows, -2)


def spans(length: int, step: int) -> Iterator[slice]:
    """Consecutive slices of at most `step` that cover `length`."""
    for start in range(0, length, step):
        yield slice(start, min(start + step, length))


def to_tokens(x: Tensor) -> Tensor:
    """(B,C,T,h,w) -> (B*h*w,T,C)."""
    return x.permute(0, 3, 4, 2, 1).flatten(0, 2)


def from_tokens(tokens: Tensor, shape: Sequence[int]) -> Tensor:
    """(B*h*w,T,C) -> (B,C,T,h,w)."""
    B, _, _, h, w = shape
    return tokens.unflatten(0, (B, h, w)).permute(0, 4, 3, 1, 2)
