"""The yardstick: what a user of the published VRT does in an afternoon, bf16, SDPA windows and `torch.compile`."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

BY_HAND = "by hand"
Step = Callable[[nn.Module, Tensor, torch.dtype | None], Tensor]
"""One step of a model on a clip, under autocast to a type where there is one."""


def compiled_or_not(
    step: Step, model: nn.Module, x: Tensor, half: torch.dtype | None
) -> tuple[Callable[[], Tensor], str]:
    """The step by a compiled model, or as it is where no compiler works; and what is to be said about it.

    Raises:
        torch.OutOfMemoryError: neither fits.
    """
    compiled: Any = torch.compile(model)
    try:
        step(compiled, x, half)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # A compiler fails in any way.
        first = (str(error).strip().splitlines() or [""])[0]
        return lambda: step(model, x, half), f", not compiled: {type(error).__name__}: {first[:120]}"
    return lambda: step(compiled, x, half), ", compiled"
