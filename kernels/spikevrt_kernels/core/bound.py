"""Fast launches without Triton's checks: a binary is used again for arguments of the same kind.

Triton's launcher asks at every call of every argument how to specialise on it. Here the answer is looked up by all that
it depends on: device, options, every number with its type, every pointer's type and alignment.
"""

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

import triton
from torch import Tensor
from triton.compiler import CompiledKernel
from triton.runtime import JITFunction, driver

ALIGNMENT = 16
"""Alignment of pointers that the compiler may assume, in bytes."""
MOST = 4096
"""Largest number of kept binaries; some hundreds are in use for any shapes."""

Key = tuple[Any, ...]
BINARIES: dict[Key, CompiledKernel] = {}


def launch(kernel: Any, grid: tuple[int, ...], arguments: dict[str, Any], options: dict[str, Any]) -> None:
    """`kernel[grid](**arguments, **options)` on the current device; from the second call on past Triton's launcher."""
    device = driver.active.get_current_device() if isinstance(kernel, JITFunction) else None
    key = None if device is None or watched(kernel) else key_of(kernel, device, arguments, options)
    binary = None if key is None else BINARIES.get(key)
    if binary is None:
        keep(key, kernel[grid](**arguments, **options))
        return
    stream = driver.active.get_current_stream(device)
    values = map(arguments.__getitem__, kernel.arg_names)
    binary.run(*(*grid, 1, 1)[:3], stream, binary.function, binary.packed_metadata, None, None, None, *values)


def key_of(kernel: JITFunction, device: Any, arguments: dict[str, Any], options: dict[str, Any]) -> Key | None:
    """All that the choice of a binary depends on, or None for arguments of unknown kinds.

    A number counts with its type, since 1, 1.0 and True are equal to Python.
    """
    pointers, numbers = names_of(kernel.fn)
    if len(pointers) + len(numbers) != len(arguments):
        return None
    values = tuple(map(arguments.__getitem__, numbers))
    types = tuple(map(type, values))
    if Tensor in types:
        return None
    kinds = [
        None if x is None else (x.dtype, x.data_ptr() % ALIGNMENT == 0) for x in map(arguments.__getitem__, pointers)
    ]
    return kernel.fn, device, values, types, *kinds, *options.items()


@cache
def names_of(function: Callable[..., Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of a kernel's pointers, which end with `_ptr`, and of its other arguments."""
    names = inspect.signature(function).parameters
    return tuple(n for n in names if n.endswith("_ptr")), tuple(n for n in names if not n.endswith("_ptr"))


def watched(kernel: JITFunction) -> bool:
    """Whether hooks follow launches or change the compiler; only Triton's own launcher supports them."""
    knobs = triton.knobs.runtime
    hooks = kernel.pre_run_hooks or knobs.launch_enter_hook.calls or knobs.launch_exit_hook.calls
    return bool(hooks or knobs.debug or knobs.add_stages_inspection_hook)


def keep(key: Key | None, binary: Any) -> None:
    """Keep the binary that Triton launched; only on CUDA, elsewhere it may depend on more than the key."""
    if key is not None and isinstance(binary, CompiledKernel) and binary.metadata.target.backend == "cuda":
        if len(BINARIES) >= MOST:
            BINARIES.clear()
        BINARIES[key] = binary
