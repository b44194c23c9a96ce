"""The Triton kernels of the GEGLU block and of the fusing MLP.

A tile is P rows (pixels) of C channels, cut into NC chunks of CK. Tall tiles of the forward have narrow chunks, which
cover a width closely: 96 = 3 x 32. Flat tiles of the backward have wide ones, which are spread over the warps along
their channels. The hidden channels pass by in slices of RK and never leave the registers.

C and R are constexprs: rows of 120 or 180 channels are not multiples of 16 numbers, and only where the compiler knows
the width does it load more than one number at a time. `kernels/README.md` explains the letters and why no loop hoists.
"""
