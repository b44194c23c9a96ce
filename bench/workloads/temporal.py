"""Operators along time at the model's four scales, and the block of the published project.

The published block loops over chunks of pixels around `torch.nn.MultiheadAttention`. It is written from the project's
description; everything else is compared with it."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bench.workloads.workload import ALL_ENTRIES, BACKENDS, Workload
from spikevrt_kernels.core.case import Case
from spikevrt_kernels.temporal_attention.spec import temporal_attention_case
from spikevrt_kernels.temporal_block.chunks import Chunking
from spikevrt_kernels.temporal_block.spec import temporal_block_case

CHUNKING = Chunking()
"""The published defaults: MAX_BATCH_TOKENS 49152, CHUNK_SIZE 64, square chunks."""
BATCH, CHANNELS, FRAMES, HEADS, RATIO = 1, 96, 5, 4, 2
FULL_SIZE, REDUCED_SIZE = 256, 64
"""Side of the first scale in pixels; each further scale halves it."""
SCALE_COUNT = 4
ATTENTION, SELF, CROSS = "attention along time", "self block", "cross block"
OPERATORS = (ATTENTION, SELF, CROSS)


class PublishedBlock(nn.Module):
    """y = x + MHA(LN x, LN context), then y + MLP(LN y), on tokens (S,T,C)."""

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
    """The published block on features, one chunk after the other.

    Args:
        x: (B,C,T,H,W).
        context: (B,C,Tk,H,W), or None for self-attention.
        parameters: weights and biases in the order of `BlockWeights`, flat.
        heads: divides C.
    """
    B, C, _, H, W = x.shape
    with torch.device("meta"):
        block = PublishedBlock(C, heads, parameters[-2].shape[1] // C, context is not None)
    # In evaluation mode torch.nn.MultiheadAttention uses a faster path.
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


def shapes(full: bool) -> list[tuple[int, ...]]:
    """(B,C,T,H,W) of the four scales."""
    size = FULL_SIZE if full else REDUCED_SIZE
    return [(BATCH, CHANNELS, FRAMES, size >> scale, size >> scale) for scale in range(SCALE_COUNT)]


def entries(operator: str) -> tuple[str, ...]:
    """Entries of an operator; the published code has no attention without projections."""
    return BACKENDS if operator == ATTENTION else ALL_ENTRIES


@lru_cache(maxsize=1)
def temporal_workload(operator: str, shape: tuple[int, ...], dtype: torch.dtype, device: str) -> Workload:
    """The workload of an operator on (B,C,T,H,W); the last one is cached for its next entry."""
    B, C, T, H, W = shape
    case = replace(temporal_case(operator, shape), op=operator, shape="x".join(map(str, shape)))
    return Workload(case, case, dtype, torch.device(device), B * T * H * W, C, shape)


def temporal_case(operator: str, shape: tuple[int, ...]) -> Case:
    """The case of an operator as the model calls it, with default chunks."""
    B, C, T, H, W = shape
    if operator == ATTENTION:
        return temporal_attention_case(B, C, T, T, H, W, HEADS)
    cross = operator == CROSS
    return with_published(temporal_block_case((B, C, T, T if cross else None, H, W), HEADS, RATIO, Chunking()))


def with_published(case: Case) -> Case:
    """A block's case with one more backend: `published`."""

    def run(inputs: Sequence[Tensor], backend: str) -> Tensor:
        if backend != "published":
            return case.run(inputs, backend)
        context = inputs[1] if case.features > 1 else None
        return published_block(inputs[0], context, inputs[case.features :], HEADS)

    return replace(case, run=run)
