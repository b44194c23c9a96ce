"""Costs that custom operators declare: bytes and launches per call."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor


class Cost(NamedTuple):
    """What a custom operator declares for one call."""

    bytes: int
    launches: int


Declared = Mapping[str, Callable[..., Cost]]
"""From an operator's name (`spikevrt::temporal_block`) to its cost as a function of its arguments."""


def feature_bytes(x: Tensor, dtype: torch.dtype | None = None) -> int:
    """Bytes of a tensor of x's shape, in `dtype` or its own."""
    return x.numel() * (dtype or x.dtype).itemsize
