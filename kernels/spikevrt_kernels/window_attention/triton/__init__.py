"""The Triton kernels of window attention: forward, backward, and the gradient of the bias table."""
