"""Modulated deformable convolution (DCNv2)."""

from spikevrt_kernels.deform_conv.reference import deform_conv

__all__ = ["deform_conv"]
