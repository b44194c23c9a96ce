"""Modulated deformable 3x3 convolution, plain and around an optical flow between the frames of a clip."""

from spikevrt_kernels.deform_conv.op import flow_guided_deform_conv
from spikevrt_kernels.deform_conv.reference import deform_conv, tap_major

__all__ = ["deform_conv", "flow_guided_deform_conv", "tap_major"]
