"""Bytes that kernels load and store, counted in Triton's interpreter.

The interpreter computes real addresses: every access is marked in a map of the storage that it falls in.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from triton.runtime import interpreter

from spikevrt_kernels.core.launch import interpreted

SECTOR = 32
"""Bytes of a sector, the smallest unit that a GPU's memory moves."""
ACCESSES = ("create_masked_load", "create_masked_store")
ATOMICS = ("create_atomic_rmw", "create_atomic_cas")


@dataclass
class TensorTraffic:
    """Traffic of one launch on one storage, in bytes (atomics: number of updates)."""

    distinct: int = 0
    """Distinct bytes touched: the lower limit of traffic."""
    per_program: int = 0
    """Distinct bytes of each program, summed: the traffic with a perfect cache inside a program."""
    sectors: int = 0
    """32-byte sectors of each program, summed, in bytes; larger if accesses are not coalesced."""
    atomics: int = 0


@dataclass
class KernelTraffic:
    """Traffic of one launch; arguments that share a storage share an entry, named like `q+k+v`."""

    kernel: str
    programs: int = 0
    tensors: dict[str, TensorTraffic] = field(default_factory=dict)

    def total(self, *names: str) -> int:
        """`per_program` bytes of the tensors called `names` (all tensors without names)."""
        return sum(t.per_program for name, t in self.tensors.items() if not names or set(name.split("+")) & {*names})


class StorageMap:
    """Which bytes of a storage were touched, by the current program and by all."""

    def __init__(self, storage: torch.UntypedStorage) -> None:
        # Maps begin at a sector's edge, as the GPU sees it.
        self.start = storage.data_ptr() // SECTOR * SECTOR
        self.end = storage.data_ptr() + storage.nbytes()
        size = -(-(self.end - self.start) // SECTOR) * SECTOR
        self.program = np.zeros(size, dtype=bool)
        self.all = np.zeros(size, dtype=bool)
        self.traffic = TensorTraffic()

    def mark(self, addresses: np.ndarray, itemsize: int) -> int:
        """Mark the elements at `addresses` that lie in this storage and return how many do."""
        inside = addresses[(addresses >= self.start) & (addresses < self.end)] - np.uint64(self.start)
        for byte in range(itemsize):
            self.program[inside + np.uint64(byte)] = True
        return inside.size

    def close_program(self) -> None:
        """Add the accesses of the program that ends."""
        self.traffic.per_program += int(np.count_nonzero(self.program))
        self.traffic.sectors += SECTOR * int(np.count_nonzero(self.program.reshape(-1, SECTOR).any(1)))
        self.all |= self.program
        self.program[:] = False


class LaunchRecorder:
    """Records the accesses of one launch."""

    def __init__(self, kernel: str, arguments: dict[str, Any]) -> None:
        self.traffic = KernelTraffic(kernel)
        self.maps: dict[str, StorageMap] = {}
        self.grid_idx: tuple[int, int, int] | None = None
        names: dict[int, list[str]] = {}
        storages = {}
        for name, argument in arguments.items():
            if isinstance(argument, Tensor) and argument.untyped_storage().nbytes():
                storage = argument.untyped_storage()
                names.setdefault(storage.data_ptr(), []).append(name)
                storages[storage.data_ptr()] = storage
        for pointer, storage in storages.items():
            self.maps["+".join(names[pointer])] = StorageMap(storage)

    def access(self, grid_idx: tuple[int, int, int], pointers: Any, mask: Any, atomic: bool) -> None:
        """Record a load, store or atomic of a program."""
        if grid_idx != self.grid_idx:
            self.next_program(grid_idx)
        addresses = np.ravel(pointers.data)
        if mask is not None:
            # The interpreter spreads a scalar mask as whole numbers, which would pick addresses.
            kept = np.broadcast_to(mask.data, pointers.data.shape).astype(bool)
            addresses = addresses[np.ravel(kept)]
        itemsize = max(1, pointers.get_element_ty().primitive_bitwidth // 8)
        for storage_map in self.maps.values():
            touched = storage_map.mark(addresses, itemsize)
            storage_map.traffic.atomics += touched if atomic else 0

    def next_program(self, grid_idx: tuple[int, int, int] | None) -> None:
        """End the current program, if there is one, and begin another."""
        if self.grid_idx is not None:
            for storage_map in self.maps.values():
                storage_map.close_program()
        self.grid_idx = grid_idx

    def finish(self, grid: tuple[int, ...]) -> KernelTraffic:
        """The launch's figures."""
        self.next_program(None)
        self.traffic.programs = int(np.prod(grid))
        for name, storage_map in self.maps.items():
            storage_map.traffic.distinct = int(np.count_nonzero(storage_map.all))
            self.traffic.tensors[name] = storage_map.traffic
        return self.traffic


@contextmanager
def count_bytes() -> Iterator[list[KernelTraffic]]:
    """Count every launch inside the block; the list grows by one entry a launch, in order.

    Raises:
        RuntimeError: kernels are not interpreted here.
    """
    if not interpreted():
        raise RuntimeError("bytes are counted in Triton's interpreter: set TRITON_INTERPRET=1 before Python starts")
    launches: list[KernelTraffic] = []
    current: list[LaunchRecorder] = []
    builder = interpreter.interpreter_builder
    plain_call = interpreter.GridExecutor.__call__

    def call(self: Any, *args: Any, **kwargs: Any) -> None:
        known = inspect.getfullargspec(self.fn).args
        bound = inspect.getcallargs(self.fn, *args, **{k: v for k, v in kwargs.items() if k in known})
        current.append(LaunchRecorder(self.fn.__name__, bound))
        try:
            plain_call(self, *args, **kwargs)
            grid = self.grid(bound) if callable(self.grid) else self.grid
            launches.append(current[-1].finish(grid))
        finally:
            current.pop()

    def watched(name: str) -> Callable[..., Any]:
        plain = getattr(builder, name)
        parameters = inspect.signature(plain)

        def access(*args: Any, **kwargs: Any) -> Any:
            bound = parameters.bind(*args, **kwargs).arguments
            pointers = bound["ptrs"] if "ptrs" in bound else bound["ptr"]
            current[-1].access(builder.grid_idx, pointers, bound.get("mask"), name in ATOMICS)
            return plain(*args, **kwargs)

        return access

    interpreter.GridExecutor.__call__ = call
    for name in (*ACCESSES, *ATOMICS):
        setattr(builder, name, watched(name))
    try:
        yield launches
    finally:
        interpreter.GridExecutor.__call__ = plain_call
        for name in (*ACCESSES, *ATOMICS):
            delattr(builder, name)
