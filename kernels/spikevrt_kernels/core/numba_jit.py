"""Compiles Numba kernels, and keeps them on disk if possible."""

from collections.abc import Callable
from typing import Any, TypeVar

import numba

F = TypeVar("F", bound=Callable[..., Any])


def compiled(**options: Any) -> Callable[[F], F]:
    """`numba.njit` without the interpreter's lock, kept on disk from run to run.

    Where no folder can be written (an installation of somebody else's, no home), Numba refuses to define a kernel that
    is to be kept: there, each process compiles it again.
    """

    def decorate(function: F) -> F:
        try:
            return numba.njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:
            return numba.njit(nogil=True, **options)(function)

    return decorate
