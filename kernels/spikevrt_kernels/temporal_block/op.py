"""The public function: the block along time, fused or chunk by chunk, with a backend argument."""

import torch
from torch import Tensor

from spikevrt_kernels.backends import resolve_backend
from spikevrt_kernels.temporal_block.chunks import Chunking, spans
from spikevrt_kernels.temporal_block.fused import temporal_block_fused
from spikevrt_kernels.temporal_block.reference import BlockWeights, temporal_block_reference

__all__ = ["BlockWeights", "temporal_block"]


def temporal_block(
    x: Tensor,
    context: Tensor | None,
    weights: BlockWeights,
    heads: int,
    dropout_p: float = 0.0,
    chunking: Chunking | None = None,
    backend: str = "auto",
) -> Tensor:
    """Pre-norm transformer block on the T tokens of every pixel (self, or cross where there is a context).

    y = x + MHA(q = LN x, k = v = LN context); out = y + MLP(LN y), LayerNorm eps 1e-5, exact GELU.

    Args:
        x: (B,C,T,H,W) floating point.
        context: (B,C,Tk,H,W) that keys and values come from, or None for self-attention on x.
        weights: the block's parameters.
        heads: divides C.
        dropout_p: dropout on the attention probabilities, in [0, 1).
        chunking: how many pixels run at a time; None = all at once. Never changes the result. `triton` runs all
            in one launch, and MAX_BATCH_TOKENS bounds the tile of a program.
        backend: auto, triton, sdpa or naive.

    Returns:
        (B,C,T,H,W), the type of x.

    Raises:
        BackendError: `backend` cannot run.
    """
    attention = resolve_backend(backend, "temporal_block", *((x,) if context is None else (x, context)))
    if attention == "triton":
        return temporal_block_fused(x, context, weights, heads, dropout_p, chunking)
    B, _, _, H, W = x.shape
    h, w = chunking.tile(B, H, W) if chunking else (H, W)

    def run(rows: slice, columns: slice) -> Tensor:
        part = context if context is None else context[..., rows, columns]
        return temporal_block_reference(x[..., rows, columns], part, weights, heads, dropout_p, attention).to(x.dtype)

    if (h, w) == (H, W):
        return run(slice(None), slice(None))
    return torch.cat([torch.cat([run(r, c) for c in spans(W, w)], -1) for r in spans(H, h)], -2)
