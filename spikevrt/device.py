"""Where to run and in what precision: bf16 where the CUDA device has it, else fp16 with a scaler; fp32 on CPU."""

import torch

from spikevrt.errors import UserError


def choose_device(name: str | None = None, index: int = 0) -> torch.device:
    """The device called `name`; without one, CUDA device `index`, or the CPU where there is none.

    A device called `cuda` is CUDA device `index`: all that a run asks of it needs a number.

    Raises:
        UserError: no such device here.
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", index)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):
        raise UserError(f"--device {name}: not on this machine; use cpu, or cuda:N where there is a GPU") from None
    return device


def half_type(device: torch.device, wanted: bool) -> torch.dtype | None:
    """The type of autocast, or None for float32."""
    if not wanted or device.type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def autocast(device: torch.device, half: torch.dtype | None) -> torch.autocast:
    """Autocast to `half`, or a context that does nothing."""
    return torch.autocast(device.type, half or torch.bfloat16, enabled=half is not None)


def make_scaler(device: torch.device, half: torch.dtype | None) -> torch.amp.GradScaler:
    """A gradient scaler that works for fp16 only."""
    return torch.amp.GradScaler(device.type, enabled=half is torch.float16)
