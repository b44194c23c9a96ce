"""The Triton kernels of a residual linear branch."""
