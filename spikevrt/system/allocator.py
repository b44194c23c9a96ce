"""The C library's allocator."""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Options of glibc's mallopt(3)."""


def keep_freed_memory() -> None:
    """Use freed memory again instead of returning it to the system; without glibc, change nothing.

    The tensors of whole frames come and go with every operator. Otherwise each is mapped anew, and clearing its pages
    takes as long as half of the arithmetic.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, -1)
