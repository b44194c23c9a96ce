"""Sampling an image where a flow points."""

from spikevrt_kernels.flow_warp.reference import flow_warp, pair, pixel_grid, sample_pixels

__all__ = ["flow_warp", "pair", "pixel_grid", "sample_pixels"]
