"""A kernel launch as a value that can be run, noted without running, or compiled for any architecture."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache, wraps
from typing import Any, ClassVar, NamedTuple, TypeVar

import torch
from torch import Tensor

Function = TypeVar("Function", bound=Callable[..., Any])
NOWHERE_ELSE = nullcontext()
ALIGNMENT = 16
"""Alignment in bytes, and divisor of numbers, that the compiler may assume."""


@dataclass(frozen=True)
class Pointer:
    """What the compiler must know of a tensor; a noted launch keeps no more."""

    dtype: torch.dtype
    aligned: bool

    def data_ptr(self) -> int:
        """An address with the same alignment as the tensor's."""
        return 0 if self.aligned else 1


def pointer(x: Tensor | Pointer) -> Pointer:
    """The pointer to a tensor, with or without storage; storages begin at aligned addresses."""
    if isinstance(x, Pointer):
        return x
    return Pointer(x.dtype, x.storage_offset() * x.element_size() % ALIGNMENT == 0)


class Launch(NamedTuple):
    """One launch of one `@triton.jit` kernel."""

    kernel: Any
    grid: tuple[int, ...]
    """Programs on each axis; only the first may pass 65,535."""
    arguments: dict[str, Any]
    """Tensors, numbers and constexprs by the kernel's names."""
    options: dict[str, Any]
    """num_warps, num_stages, enable_fp_fusion."""

    def run(self) -> None:
        """Launch on the device of the tensors; inside `noted_launches` the launch is only noted."""
        from spikevrt_kernels.core.bound import launch

        if Notes.launches is not None:
            Notes.launches.append(self.without_tensors())
            return
        device = next(a.device for a in self.arguments.values() if isinstance(a, Tensor))
        if device.type == "cuda":
            assemble_for(device)
        with on(device):
            launch(*self)

    def without_tensors(self) -> "Launch":
        """A copy that keeps only what the compiler must know of tensors."""
        pointers = {name: pointer(value) for name, value in self.arguments.items() if isinstance(value, Tensor)}
        return self._replace(arguments=self.arguments | pointers)


@cache
def assemble_for(device: torch.device) -> str:
    """Choose the assembler of a device before its first kernel, and print which one."""
    from spikevrt_kernels.core.assembler import use_newest_assembler

    return use_newest_assembler(architecture(device))


def on(device: torch.device) -> AbstractContextManager[None]:
    """While active, launches go to a device."""
    elsewhere = device.type == "cuda" and device.index != torch.cuda.current_device()
    return torch.cuda.device(device) if elsewhere else NOWHERE_ELSE


class Notes:
    """Where launches are noted instead of run."""

    launches: ClassVar[list[Launch] | None] = None
    architecture: ClassVar[int] = 90
    watch: ClassVar[Callable[[], AbstractContextManager[Any]]] = nullcontext
    """Entered around an operator's own code, whose allocations dispatch modes outside do not see."""
    call: ClassVar[Callable[[Callable[..., Any], tuple[Any, ...]], Any] | None] = None
    """Calls functions that are `repeatable`, or repeats what they did."""


@contextmanager
def noted_launches(architecture: int = 90) -> Iterator[list[Launch]]:
    """While active, operators note their launches for an architecture, without tensors, and run nothing.

    Meant for tensors without storage (`proof.memory.without_storage`): the fakes of the registered operators then
    take the way of the operators themselves.
    """
    with assumed(architecture):
        before, Notes.launches = Notes.launches, []
        try:
            yield Notes.launches
        finally:
            Notes.launches = before


@contextmanager
def assumed(architecture: int) -> Iterator[None]:
    """While active, tensors that are not on CUDA count as on a GPU of an architecture (90 for sm_90)."""
    before, Notes.architecture = Notes.architecture, architecture
    try:
        yield
    finally:
        Notes.architecture = before


def noting() -> bool:
    """Whether launches are noted; only then do fake implementations build them."""
    return Notes.launches is not None


def without_values(run: Callable[..., Any], like: Callable[..., Any]) -> Callable[..., Any]:
    """The fake of an operator: `like` makes its outputs; while launches are noted, it runs like the operator itself."""

    def fake(*inputs: Any) -> Any:
        if not noting():
            return like(*inputs)
        with Notes.watch():
            return again(*inputs)

    again = repeatable(run)
    return fake


def repeatable(function: Function) -> Function:
    """A function of tensors, numbers and tuples that does the same for equal shapes, see `proof.repeated`.

    It may write inputs, but it keeps none; its results have storages of their own.
    """

    @wraps(function)
    def call(*inputs: Any) -> Any:
        return function(*inputs) if Notes.call is None else Notes.call(function, inputs)

    return call  # type: ignore[return-value]


def constant(function: Function) -> Function:
    """`torch.compiler.assume_constant_result` without importing Dynamo, which takes a second."""
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


@constant
def interpreted() -> bool:
    """Whether kernels run in Triton's interpreter (TRITON_INTERPRET=1), on CPU tensors."""
    return os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "on", "yes", "y")


def architecture(device: torch.device) -> int:
    """Compute capability as one number (8.6 -> 86); for tensors that are not on CUDA that of `assumed` (default 90)."""
    if device.type != "cuda":
        return Notes.architecture
    major, minor = torch.cuda.get_device_capability(device)
    return 10 * major + minor


def pieces(length: int, size: int) -> int:
    """Number of pieces of a size that cover a length."""
    return -(-length // size)


def strides(letter: str, of: tuple[int, ...]) -> dict[str, int]:
    """Strides of B, C and T by the kernels' names."""
    return {f"stride_{letter}{axis}": stride for axis, stride in zip("bct", of, strict=False)}


def flat_pixels(x: Tensor) -> Tensor:
    """`x` (B,C,T,H,W) with its H*W pixels side by side in memory: itself, or a copy where they are not."""
    W = x.shape[-1]
    side_by_side = x.stride(-1) == 1 or x.shape[-2:].numel() == 1
    return x if side_by_side and (x.shape[-2] == 1 or x.stride(-2) == W) else x.contiguous()


def draw_seed(device: torch.device) -> Tensor:
    """(1,) int64 from torch's generator, so that checkpointing and resuming repeat the dropout of a run."""
    return torch.randint(2**62, (1,), device=device)
