"""Compiles Numba kernels, and keeps them on disk if possible."""

import pickle
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import numba
from numba.core.caching import FunctionCache

F = TypeVar("F", bound=Callable[..., Any])


def compiled(**options: Any) -> Callable[[F], F]:
    """`numba.njit` without the interpreter's lock, kept on disk from run to run.

    Where no folder can be written (an installation of somebody else's, no home), Numba refuses to define a kernel that
    is to be kept: there, each process compiles it again.
    """

    def decorate(function: F) -> F:
        try:
            kernel = numba.njit(nogil=True, cache=True, **options)(function)
        except (RuntimeError, OSError):
            return numba.njit(nogil=True, **options)(function)
        kernel._cache = LenientCache(function)
        return kernel

    return decorate


class LenientCache(FunctionCache):
    """Numba's cache of a function; where it cannot be read or written (a full disk), the function is compiled again."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The machine code of a signature, or None."""
        with suppress(OSError, EOFError, pickle.UnpicklingError):
            return super().load_overload(sig, target_context)
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep the machine code of a signature if that is possible."""
        with suppress(OSError, EOFError, pickle.UnpicklingError):
            super().save_overload(sig, data)
