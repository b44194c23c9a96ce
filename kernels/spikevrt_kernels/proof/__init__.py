"""Proof of a kernel on a machine without a GPU: bytes counted, binaries read, bounds predicted.

`byte_counter` counts in Triton's interpreter, `operator_counter` what PyTorch's operators move and save,
`compiler` builds the binary that a GPU would load and reads it, `roofline` turns counts into a predicted bound.
"""
