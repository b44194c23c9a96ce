"""The Triton kernels that write the input of the offset convolutions.

Features are channels last. A tile is P pixels of one pair, 8 wide; CK channels are in registers at a time.
"""
