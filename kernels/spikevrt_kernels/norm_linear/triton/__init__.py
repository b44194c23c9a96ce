"""The Triton kernels of layer norm and a linear layer."""
