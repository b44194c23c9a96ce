"""The pre-norm transformer block along time."""

from spikevrt_kernels.temporal_block.chunks import Chunking
from spikevrt_kernels.temporal_block.op import BlockWeights, temporal_block

__all__ = ["BlockWeights", "Chunking", "temporal_block"]
