"""A linear layer as a residual branch that whole samples may skip."""

from spikevrt_kernels.linear_residual.op import linear_residual

__all__ = ["linear_residual"]
