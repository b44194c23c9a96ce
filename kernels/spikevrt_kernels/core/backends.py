"""Attention backends: which ones exist, which can run, and the reasons why one cannot.

`naive` is the plain PyTorch reference, `sdpa` uses `scaled_dot_product_attention`, and `triton` is a fused kernel. A
backend chosen by name runs or raises `BackendError`; it is never replaced by another one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import torch
from torch import Tensor
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from spikevrt_kernels.core.launch import constant, interpreted
from spikevrt_kernels.core.names import CHOICES

TIME_OPS = ("temporal_attention", "temporal_block")
"""Operators that attend along the T of features (B,C,T,H,W)."""
MAX_FRAMES = 8
"""The kernels along time hold the T x T scores of a pixel in registers, so T is limited."""
MAX_HEAD_WIDTH = 64
"""The window attention kernels hold all channels of a head in registers, so its width is limited."""
MIN_ARCHITECTURE = (8, 0)
"""Triton does not use the tensor cores of older GPUs."""
CUDA_TYPES = (torch.float32, torch.float16, torch.bfloat16)
INTERPRETER_TYPES = (torch.float64, torch.float32, torch.float16)
"""bfloat16 is missing, because its arithmetic is wrong in Triton's interpreter."""


class BackendError(ValueError):
    """A backend that was chosen by name cannot run; the message says why."""


class Planning:
    """Whether work is planned on tensors without storage, on which no kernel runs."""

    active = False
    for_cuda = False


@contextmanager
def planning(for_cuda: bool = False) -> Iterator[None]:
    """While active, `triton` is accepted on any machine; only fake implementations run.

    With `for_cuda` the other backends also use their CUDA forms for CPU tensors.
    """
    before = Planning.active, Planning.for_cuda
    Planning.active, Planning.for_cuda = True, for_cuda
    try:
        yield
    finally:
        Planning.active, Planning.for_cuda = before


@constant
def planned() -> bool:
    """Whether the call is inside `planning`."""
    return Planning.active


@constant
def planned_for_cuda() -> bool:
    """Whether operators use their CUDA forms for CPU tensors."""
    return Planning.for_cuda


def runs_on_cpu(x: Tensor) -> bool:
    """Whether operators use their CPU forms for `x`: it is on the CPU, and CUDA is not planned for."""
    return x.device.type == "cpu" and not planned_for_cuda()


def runs_plainly(x: Tensor) -> bool:
    """Whether x holds values, and no compiler, counter or plan sees operators only: its values may decide what runs."""
    if torch.compiler.is_compiling() or is_in_torch_dispatch_mode() or x.is_meta:
        return False
    return type(x.detach()) is Tensor


def runs_on_cuda(x: Tensor) -> bool:
    """Whether operators use their CUDA forms for `x`: it is on CUDA, or CUDA is planned for. Others use neither."""
    return x.is_cuda or planned_for_cuda()


def form_of(backend: str, x: Tensor) -> str:
    """The key in an operator's table of functions: the backend, or `cpu` for `sdpa` on the CPU."""
    return "cpu" if backend == "sdpa" and runs_on_cpu(x) else backend


@constant
def lacking() -> str | None:
    """What this machine lacks to run Triton kernels, as part of a sentence; None = nothing."""
    if Planning.active:
        return None
    if find_spec("triton") is None:
        return "the package triton is not installed"
    if interpreted() or torch.cuda.is_available():
        return None
    return "there is no CUDA device here"


def why_not_triton() -> str | None:
    """None if this machine can run Triton kernels, else a sentence that says why not."""
    reason = lacking()
    return reason and f"attention backend triton cannot run: {reason}; use sdpa"


def why_no_kernels(device: torch.device) -> str | None:
    """None if a device runs Triton kernels (the CPU does in the interpreter), else the reason as part of a sentence."""
    reason = lacking()
    if reason is not None:
        return reason
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        if (major, minor) >= MIN_ARCHITECTURE:
            return None
        return f"sm_{major}{minor} is below sm_80, which Triton gives no tensor cores"
    if planned() or (interpreted() and device.type == "cpu"):
        return None
    return f"the features are on {device.type}, not on CUDA"


def takes_kernels(device: torch.device) -> bool:
    """Whether a device is a GPU that runs Triton kernels."""
    return device.type == "cuda" and why_no_kernels(device) is None


def why_not_on(op: str, *inputs: Tensor, head_width: int | None = None) -> str | None:
    """None if the kernel of `op` can run on these features, else a sentence that says why not."""
    reason = why_not_triton()
    if reason is not None:
        return reason
    device = inputs[0].device
    cannot = f"{op}: attention backend triton cannot run: "
    reason = why_no_kernels(device)
    if reason is not None:
        return f"{cannot}{reason}; use sdpa"
    types = CUDA_TYPES if device.type == "cuda" or planned() else INTERPRETER_TYPES
    if head_width is not None and head_width > MAX_HEAD_WIDTH:
        return f"{cannot}heads of width {head_width} are wider than {MAX_HEAD_WIDTH}; use sdpa or more heads"
    for x in inputs:
        if op in TIME_OPS and x.shape[2] > MAX_FRAMES:
            return f"{cannot}T = {x.shape[2]} is above {MAX_FRAMES}; use sdpa or a shorter DATA.CLIP_LEN"
        if x.dtype not in types:
            names = ", ".join(str(t).removeprefix("torch.") for t in types)
            return f"{cannot}{str(x.dtype).removeprefix('torch.')} is not one of {names}; use sdpa"
    return None


def can_run_triton(op: str, *inputs: Tensor, head_width: int | None = None, raises: bool = False) -> bool:
    """Whether the Triton kernel of `op` can run on these features; arguments as in `resolve_backend`.

    Raises:
        BackendError: it cannot run, and `raises` is set; the message says why.
    """
    reason = why_not_on(op, *inputs, head_width=head_width)
    if reason is not None and raises:
        raise BackendError(reason)
    return reason is None


def resolve_backend(choice: str, op: str | None = None, *inputs: Tensor, head_width: int | None = None) -> str:
    """The backend that `choice` (`auto`, `triton`, `sdpa` or `naive`) stands for.

    Args:
        choice: the backend that the caller asks for.
        op: the operator, or None to ask about the machine only.
        inputs: the operator's features; (B,C,T,H,W) for attention along time.
        head_width: channels per head, for operators that limit them.

    Raises:
        BackendError: the name is unknown, or it is `triton` and that cannot run.
    """
    if choice not in CHOICES:
        raise BackendError(f"attention backend {choice}: unknown; choose one of {', '.join(CHOICES)}")
    if choice == "auto":
        return "sdpa"
    if choice != "triton":
        return choice
    reason = why_not_triton()
    if reason is not None:
        raise BackendError(reason)
    if op is not None:
        can_run_triton(op, *inputs, head_width=head_width, raises=True)
    return "triton"
