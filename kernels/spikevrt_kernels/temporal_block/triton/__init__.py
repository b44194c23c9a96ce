"""The Triton kernels of the pre-norm block along time.

A tile is P pixels of one frame: a matrix (P,K) of K channels, so T is never padded. Features are cut into NC chunks
of CK channels (96 = 3 x 32), since a padded width of 128 would cost 1.8 times the work. Dots take DOT, sums are ACC.
Letters, barriers, what each launch moves, and why no loop hoists: `kernels/README.md`.
"""
