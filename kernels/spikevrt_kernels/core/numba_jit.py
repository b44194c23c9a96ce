"""Compiles Numba kernels, and keeps them on disk if possible."""

import pickle
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core.caching import FunctionCache
from numba.core.registry import cpu_target

from spikevrt_kernels.core.user_cache import sources

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


@cache
def compiles_for(*features: str) -> bool:
    """Whether Numba compiles for processors with all `features`, named as by LLVM.

    They are this processor's, unless NUMBA_CPU_FEATURES says otherwise; machine code is kept for each set of features.
    """
    _triple, _name, found = cpu_target.target_context.codegen().magic_tuple()
    return {f"+{feature}" for feature in features} <= set(found.split(","))


class LenientCache(FunctionCache):
    """Numba's cache of a function, valid while the sources of its folder stay the same, which Numba does not ask.

    Where it cannot be read or written (a full disk), the function is compiled again.
    """

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        """What the machine code depends on: Numba's signature, processor and function, and the sources beside it."""
        folder = Path(self._py_func.__code__.co_filename).parent
        return *super()._index_key(sig, codegen), sources(folder)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The machine code of a signature, or None."""
        with suppress(OSError, EOFError, pickle.UnpicklingError):
            return super().load_overload(sig, target_context)
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep the machine code of a signature if that is possible."""
        with suppress(OSError, EOFError, pickle.UnpicklingError):
            super().save_overload(sig, data)
