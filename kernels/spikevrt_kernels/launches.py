"""A kernel launch as a value: run it on tensors, or hand it to `proof` to be compiled for any architecture."""

import os
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

NOWHERE_ELSE = nullcontext()


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
        """Launch on the device of the tensors."""
        from spikevrt_kernels.bound import launch

        device = next(a.device for a in self.arguments.values() if isinstance(a, Tensor))
        if device.type == "cuda":
            assemble_for(device)
        with on(device):
            launch(*self)


@cache
def assemble_for(device: torch.device) -> str:
    """Before the first kernel of a device: its assembler, and the line that says which."""
    from spikevrt_kernels.assembler import use_newest_assembler

    return use_newest_assembler(architecture(device))


def on(device: torch.device) -> AbstractContextManager[None]:
    """Inside, launches go to a device."""
    elsewhere = device.type == "cuda" and device.index != torch.cuda.current_device()
    return torch.cuda.device(device) if elsewhere else NOWHERE_ELSE


@torch.compiler.assume_constant_result
def interpreted() -> bool:
    """Whether kernels run in Triton's interpreter (TRITON_INTERPRET=1), on CPU tensors."""
    return os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "on", "yes", "y")


def architecture(device: torch.device) -> int:
    """Compute capability as one number (8.6 -> 86); 90 where the tensors are not on CUDA."""
    if device.type != "cuda":
        return 90
    major, minor = torch.cuda.get_device_capability(device)
    return 10 * major + minor


def pieces(length: int, size: int) -> int:
    """Pieces of a size that cover a length."""
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
