"""The Triton kernels of the pre-norm block along time.

A tile is P pixels of one frame, as a matrix (P,K) of K channels; T is never padded. Features are cut into NC chunks of
CK channels (96 = 3 x 32), because padding the width to 128 would cost 1.8 times the work. DOT is the type of the
products' inputs, ACC that of sums. `kernels/README.md` explains letters, barriers, traffic, and why no loop hoists.
"""
