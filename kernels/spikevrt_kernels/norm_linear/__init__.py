"""Layer norm and a linear layer."""

from spikevrt_kernels.norm_linear.op import norm_linear

__all__ = ["norm_linear"]
