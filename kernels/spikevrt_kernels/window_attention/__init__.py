"""Shifted 3-D window attention, self and mutual (VRT)."""

from spikevrt_kernels.window_attention.op import window_attention
from spikevrt_kernels.window_attention.windows import effective_window, shift_regions

__all__ = ["effective_window", "shift_regions", "window_attention"]
