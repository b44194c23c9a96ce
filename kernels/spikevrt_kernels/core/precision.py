"""Types of sums: what must not be computed in half precision."""

import warnings

import torch
from torch import Tensor


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """float32 for half types, else `dtype` itself (float64 stays float64)."""
    return torch.promote_types(dtype, torch.float32)


def dot_type(x: Tensor) -> torch.dtype:
    """The type in which autocast would multiply, else the type of x."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def settle_products() -> None:
    """Let CUDA's products of float32 keep all 24 bits, whatever an environment variable of a container says.

    PyTorch has two settings for it: where they differ, `torch.compile` and whoever asks for the older one fail.
    """
    with warnings.catch_warnings():
        # Some versions say that the older one is old.
        warnings.simplefilter("ignore")
        torch.set_float32_matmul_precision("highest")
    torch.backends.cuda.matmul.fp32_precision = "ieee"


def at_least_fp32(x: Tensor) -> Tensor:
    """`x` in its accumulation type; coordinates in bfloat16 would be 2-8 pixels off beyond x = 256."""
    return x.to(accumulation_dtype(x.dtype))


def softmax_fp32(scores: Tensor) -> Tensor:
    """Softmax over the last axis, taken in at least float32, returned in the type of `scores`."""
    return scores.softmax(-1, dtype=accumulation_dtype(scores.dtype)).to(scores.dtype)
