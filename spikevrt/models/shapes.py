"""Shapes of the features of B training crops, from the configuration alone."""

from spikevrt.config import Config
from spikevrt.config.limits import PLACES

Shape = tuple[int, int, int, int, int]
"""(B,C,T,H,W)."""


def spike_shapes(config: Config, B: int) -> list[Shape]:
    """Features of the spike encoder at four scales; self-attention along time keeps them."""
    encoder = config.model.spike_encoder
    T, S = config.data.clip_len, config.data.crop_size
    shapes: list[Shape] = []
    for i, channels in enumerate(config.model.channels_per_scale):
        if i:
            # A 3x3x3 convolution with padding 1 keeps ceil(size / stride).
            T = -(-T // encoder.temporal_strides[i - 1])
            S = -(-S // encoder.spatial_strides[i - 1])
        shapes.append((B, channels, T, S, S))
    return shapes


def stage_shapes(config: Config, B: int) -> list[Shape]:
    """Features of the backbone's stages 1-7, and of stage 8."""
    widths = config.model.vrt.embed_dims
    assert widths
    T, S = config.data.clip_len, config.data.crop_size
    shapes: list[Shape] = [(B, widths[i], T, S // p.scale, S // p.scale) for i, p in enumerate(PLACES)]
    return [*shapes, (B, widths[-1], T, S, S)]
