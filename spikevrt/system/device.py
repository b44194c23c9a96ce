"""Where to run and in what precision: bf16 where the CUDA device has it, else fp16 with a scaler; fp32 on CPU."""

import torch

from spikevrt.errors import UserError
from spikevrt_kernels.core.precision import settle_products


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


def settle_float32(few_sizes: bool = False) -> None:
    """Settle for the whole process how CUDA's libraries compute in float32: with all 24 bits, never in TF32's 11.

    PyTorch starts with TF32 in convolutions. What stays in float32, TRAIN.MIXED_PRECISION says.

    Args:
        few_sizes: inputs have few sizes, as a training's crops do: cuDNN times its algorithms at the first input of
            each size and keeps the fastest. Another run may keep another one, whose last bits differ.
    """
    settle_products()
    torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = few_sizes


def half_type(device: torch.device, wanted: bool) -> torch.dtype | None:
    """The type of autocast, or None for float32."""
    if not wanted or device.type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def autocast(device: torch.device, half: torch.dtype | None) -> torch.autocast:
    """Autocast to `half`, or a context that does nothing."""
    return torch.autocast(device.type, half or torch.bfloat16, enabled=half is not None)


def still_busy(device: torch.device) -> bool:
    """Whether CUDA has work of the current stream left; the host does not wait for the answer."""
    return device.type == "cuda" and not torch.cuda.current_stream(device).query()


def make_scaler(device: torch.device, half: torch.dtype | None) -> torch.amp.GradScaler:
    """A gradient scaler that works for fp16 only."""
    return torch.amp.GradScaler(device.type, enabled=half is torch.float16)
