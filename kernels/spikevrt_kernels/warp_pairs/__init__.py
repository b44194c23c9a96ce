"""The input of the offset convolutions: each frame's neighbours warped to it, the frame, and the optical flow."""

from spikevrt_kernels.warp_pairs.op import warp_pairs

__all__ = ["warp_pairs"]
