"""Shifted 3-D window attention: self-attention, and VRT's mutual attention."""

from spikevrt_kernels.window_attention.op import window_attention
from spikevrt_kernels.window_attention.relative_bias import KeptBias, RelativeBias, relative_position_index
from spikevrt_kernels.window_attention.windows import effective_window, shift_regions

__all__ = [
    "KeptBias",
    "RelativeBias",
    "effective_window",
    "relative_position_index",
    "shift_regions",
    "window_attention",
]
