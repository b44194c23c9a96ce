"""The Triton kernels of the deformable convolution around an optical flow.

Features are channels last. A tile is P pixels of one pair, 8 wide: a compact tile shares more of the pixels around it.
A step is one tap and K channels: GC groups of EP channels each, the E channels of a group padded to a power of two.
"""
