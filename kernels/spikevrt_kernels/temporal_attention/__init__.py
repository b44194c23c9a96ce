"""Softmax attention along time, at every pixel by itself."""

from spikevrt_kernels.temporal_attention.op import temporal_attention

__all__ = ["temporal_attention"]
