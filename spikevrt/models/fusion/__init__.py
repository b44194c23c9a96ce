"""Fusion of RGB and spike features."""

from spikevrt.models.fusion.cross_attn_temporal import MultiScaleTemporalCrossAttnFuse

__all__ = ["MultiScaleTemporalCrossAttnFuse"]
