"""The fused kernels of attention along time."""
