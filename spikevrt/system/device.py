"""Chooses device and precision: what TRAIN.MIXED_PRECISION names, or what suits the device; finds its C compiler."""

import os
import shutil

import torch

from spikevrt.errors import UserError
from spikevrt_kernels.core.precision import settle_products


def choose_device(name: str | None = None, index: int = 0) -> torch.device:
    """The device called `name`; without a name, CUDA device `index`, or the CPU if there is no GPU.

    The name `cuda` also means CUDA device `index`, because later calls need the number.

    Raises:
        UserError: this machine has no such device.
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", index)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):
        raise UserError(f"--device {name}: not on this machine; use cpu, or cuda:N where there is a GPU") from None
    return device


def settle_float32(few_sizes: bool = False) -> None:
    """Make CUDA's libraries compute float32 with all 24 bits in the whole process, never with the 11 bits of TF32.

    By default PyTorch uses TF32 in convolutions. TRAIN.MIXED_PRECISION says which parts stay in float32.

    Args:
        few_sizes: inputs have few sizes, as in training: cuDNN then times its algorithms at the first input of
            each size and keeps the fastest. Another run may choose another algorithm, whose last bits differ.
    """
    settle_products()
    torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = few_sizes


HALF_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def half_type(device: torch.device, wanted: str) -> torch.dtype | None:
    """Autocast's type on a device, or None for float32; `wanted` is TRAIN.MIXED_PRECISION.

    Raises:
        UserError: bf16 is asked for and this GPU has no arithmetic for it.
    """
    if wanted == "none" or device.type != "cuda":
        return HALF_TYPES.get(wanted)
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    if wanted == "bf16" and not has_bf16:
        raise UserError(
            f"TRAIN.MIXED_PRECISION = bf16: {torch.cuda.get_device_name(device)} does not compute in it; "
            "use fp16, none or auto"
        )
    return torch.bfloat16 if has_bf16 and wanted != "fp16" else torch.float16


def planned_half_type(wanted: str) -> torch.dtype | None:
    """What `half_type` gives on a GPU with bf16, for predictions that are made on any machine."""
    return torch.bfloat16 if wanted == "auto" else HALF_TYPES.get(wanted)


def autocast(device: torch.device, half: torch.dtype | None) -> torch.autocast:
    """Autocast to `half`, or a context that does nothing."""
    return torch.autocast(device.type, half or torch.bfloat16, enabled=half is not None)


def still_busy(device: torch.device) -> bool:
    """Whether work of the current CUDA stream is unfinished; the host does not wait for the answer."""
    return device.type == "cuda" and not torch.cuda.current_stream(device).query()


def make_scaler(device: torch.device, half: torch.dtype | None) -> torch.amp.GradScaler:
    """A gradient scaler, which does nothing except for fp16."""
    return torch.amp.GradScaler(device.type, enabled=half is torch.float16)


def c_compiler(device: torch.device) -> str | None:
    """Path of the compiler with which Triton (C, on CUDA) or torch.compile (C++, on the CPU) builds; None without one.

    Environment variables CC and CXX name another one than the usual.
    """
    variable, usual = ("CC", ("gcc", "clang")) if device.type == "cuda" else ("CXX", ("g++", "clang++"))
    named = os.environ.get(variable)
    return next((path for name in ((named,) if named else usual) if (path := shutil.which(name))), None)


def require_c_compiler(device: torch.device, key: str) -> None:
    """Raise a `UserError` that names `key` if what it turns on cannot be compiled here."""
    if c_compiler(device) is None:
        wanted = "gcc, clang or CC" if device.type == "cuda" else "g++, clang++ or CXX"
        raise UserError(f"{key} = true: no compiler is found ({wanted}); install one, or set {key}=false")
