"""The pre-norm block along time with `scaled_dot_product_attention`, for one chunk of pixels."""

from torch import Tensor

from spikevrt_kernels.temporal_block.reference import BlockWeights, temporal_block_reference


def temporal_block_sdpa(
    x: Tensor, context: Tensor | None, weights: BlockWeights, heads: int, dropout_p: float
) -> Tensor:
    """y = x + MHA(LN x, LN context); y + MLP(LN y), all along T; shapes as in `temporal_block`."""
    return temporal_block_reference(x, context, weights, heads, dropout_p, "sdpa")
