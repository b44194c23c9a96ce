"""The pre-norm transformer block along time, in chunks of pixels."""

from spikevrt_kernels.temporal_block.chunks import Chunking
from spikevrt_kernels.temporal_block.op import BlockWeights, temporal_block

__all__ = ["BlockWeights", "Chunking", "temporal_block"]
