"""The public function: the block along time with any backend, fused or chunk by chunk."""

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
    """Compute the block with `run`, chunk by chunk as `chunking` says; shapes as in `temporal_block`."""
    B, _, _, H, W = x.shape
    h, w = chunking.tile(B, H, W) if chunking else (H, W)
    rows = tiles(h, w, x) if context is None else tiles(h, w, x, context)
    return join([join([run_tile(run, tile, weights, heads, dropout_p) for tile in row], -1) for row in rows], -2)


def run_tile(run: OneChunk, tile: tuple[Tensor, ...], weights: BlockWeights, heads: int, dropout_p: float) -> Tensor:
    """Compute one chunk; `tile` holds x, or x and the context."""
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
    """Pre-norm transformer block on the T tokens of every pixel: self-attention, or cross-attention with a context.

    y = x + MHA(q = LN x, k = v = LN context); out = y + MLP(LN y), LayerNorm eps 1e-5, exact GELU.

    LayerNorm is accurate for features of any mean and standard deviation, as far as their own type represents them:
    the statistics are computed from the unrounded features in at least float32. Under autocast, float32 features are
    rounded only after their mean is subtracted. Features in autocast's own type, as in the model, are not rounded at
    all: there the mean cancels exactly in the product.

    Args:
        x: (B,C,T,H,W) floating point.
        context: (B,C,Tk,H,W) for keys and values, or None for self-attention on x.
        weights: the block's parameters.
        heads: number of heads; must divide C.
        dropout_p: dropout of the attention probabilities, in [0, 1).
        chunking: pixels that are computed together; None = all. It never changes the result. `triton` runs all pixels
            in one launch, and MAX_BATCH_TOKENS limits the tile of a program.
        backend: auto, triton, sdpa or naive.

    Returns:
        (B,C,T,H,W), the type of x.

    Raises:
        BackendError: `backend` cannot run.
    """
    maps = (x,) if context is None else (x, context)
    chosen = resolve_backend(backend, "temporal_block", *maps)
    return RUN[form_of(chosen, x)](x, context, weights, heads, dropout_p, chunking)
