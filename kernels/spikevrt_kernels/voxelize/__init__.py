"""Counts the spikes of packed recordings per pixel and time bin."""

from spikevrt_kernels.voxelize.op import voxelize
from spikevrt_kernels.voxelize.reference import frames_per_bin, unpack_frames

__all__ = ["frames_per_bin", "unpack_frames", "voxelize"]
