"""The record that describes an operator (its cases, costs and launches; each `spec.py` makes one), and its costs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from spikevrt_kernels.core.case import Case
from spikevrt_kernels.core.launch import Launch


class Cost(NamedTuple):
    """What a custom operator declares for one call."""

    bytes: int
    launches: int


Declared = Mapping[str, Callable[..., Cost]]
"""From an operator's name (`spikevrt::temporal_block`) to its cost as a function of its arguments."""


def feature_bytes(x: Tensor, dtype: torch.dtype | None = None) -> int:
    """Bytes of a tensor of x's shape, in `dtype` or its own."""
    return x.numel() * (dtype or x.dtype).itemsize


Plan = Callable[[int, torch.dtype, int], dict[str, Launch]]
"""T, type and architecture (90 for sm_90) -> the launches of forward and backward by name."""
FIRST_SCALE = (2, 96, 256, 256)
"""(B,C,H,W) of the default configuration's first scale: what plans compile."""


@dataclass(frozen=True)
class Operator:
    """An operator: how it is tried, what it declares, which launches it makes."""

    name: str
    backends: tuple[str, ...]
    """Backends without the reference, kernels first."""
    odd: tuple[Case, ...]
    """Cases of several tiles with sizes that tiles, windows and bytes do not divide."""
    tiny: tuple[Case, ...]
    """Smaller cases for Triton's interpreter, which is about a million times slower than a GPU."""
    huge: tuple[Case, ...] = ()
    """Cases with more than 2^31 elements, to find indices that overflow 32 bits."""
    floating: bool = True
    """Whether it is tried in every floating type, with gradients."""
    declared: Declared = field(default_factory=dict)
    """Declared costs by registered name (`spikevrt::...`), because `count_operators` sees operators but no kernels."""
    plans: Mapping[str, Plan] = field(default_factory=dict)
    """Launches without tensors by the names in the report."""
