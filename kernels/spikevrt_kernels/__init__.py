"""The operators of VRT+Spike: one folder an op, each with a plain PyTorch or NumPy reference beside it."""
