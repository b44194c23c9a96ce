"""The Triton kernels of attention along time."""
