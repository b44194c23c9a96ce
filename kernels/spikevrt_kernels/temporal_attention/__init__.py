"""Softmax attention along time, separately at every pixel."""

from spikevrt_kernels.temporal_attention.op import temporal_attention

__all__ = ["temporal_attention"]
