"""The public function: the block along time, fused or chunk by chunk, with a backend argument."""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from spikevrt_kernels.core.backends import form_of, resolve_backend
from spikevrt_kernels.temporal_block.chunks import Chunking, join, tiles
from spikevrt_kernels.temporal_block.cpu import temporal_block_cpu
from spikevrt_kernels.temporal_block.reference import BlockWeights, temporal_block_reference
from spikevrt_kernels.temporal_block.sdpa import temporal_block_sdpa
from spikevrt_kernels.temporal_block.triton.registered import temporal_block_fused

__all__ = ["BlockWeights", "temporal_block"]

OneChunk = Callable[[Tensor, Tensor | None, BlockWeights, int, float], Tensor]


def chunk_by_chunk(
    run: OneChunk,
    x: Tensor,
    context: Tensor | None,
    weights: BlockWeights,
    heads: int,
    dropout_p: float,
    chunking: Chunking | None,
) -> Tensor:
    """The block by `run`, as many pixels at a time as `chunking` allows; shapes as `temporal_block`."""
    B, _, _, H, W = x.shape
    h, w = chunking.tile(B, H, W) if chunking else (H, W)
    rows = tiles(h, w, x) if context is None else tiles(h, w, x, context)
    return join([join([run_tile(run, tile, weights, heads, dropout_p) for tile in row], -1) for row in rows], -2)


def run_tile(run: OneChunk, tile: tuple[Tensor, ...], weights: BlockWeights, heads: int, dropout_p: float) -> Tensor:
    """One chunk of x, or one of x and of the context."""
    x, context = tile if len(tile) > 1 else (tile[0], None)
    return run(x, context, weights, heads, dropout_p).to(x.dtype)


RUN: dict[str, Callable[..., Tensor]] = {
    "triton": temporal_block_fused,
    "sdpa": partial(chunk_by_chunk, temporal_block_sdpa),
    "cpu": partial(chunk_by_chunk, temporal_block_cpu),
    "naive": partial(chunk_by_chunk, temporal_block_reference),
}


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

    Whatever mean and spread the features have, LayerNorm keeps what its own type holds: statistics are of features as
    they come, in at least float32, and under autocast float32 features are rounded after their mean is gone. Features
    in autocast's own type, as the model's are, lose nothing: there the mean leaves the product exactly.

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
    maps = (x,) if context is None else (x, context)
    chosen = resolve_backend(backend, "temporal_block", *maps)
    return RUN[form_of(chosen, x)](x, context, weights, heads, dropout_p, chunking)
