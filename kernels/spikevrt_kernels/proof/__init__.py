"""Facts about kernels without a GPU: bytes are counted, binaries are read, bounds are predicted.

`byte_counter` counts in Triton's interpreter, `operator_counter` what PyTorch's operators move and save,
`cuda_autocast` what they cast on a GPU, `memory` what lives at once at most,
`compiler` builds the binary that a GPU would load and reads it, `work` counts what it executes (`machine_code`: its
loops, `trips`: how often they run), `roofline` turns counts into a predicted bound.
"""
