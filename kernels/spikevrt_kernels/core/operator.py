"""What there is to know about an operator besides running it: one record each, in its `spec.py`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

from spikevrt_kernels.core.case import Case
from spikevrt_kernels.core.cost import Declared
from spikevrt_kernels.core.launch import Launch

Plan = Callable[[int, torch.dtype, int], dict[str, Launch]]
"""T, type and architecture (90 for sm_90) -> the launches of forward and backward by name."""
FIRST_SCALE = (2, 96, 256, 256)
"""(B,C,H,W) of the default configuration's first scale: what plans compile."""


@dataclass(frozen=True)
class Operator:
    """An operator: how it is tried, what it declares, which launches it makes."""

    name: str
    backends: tuple[str, ...]
    """All but the reference, kernels first."""
    odd: tuple[Case, ...]
    """Shapes that no tile, window or byte divides, of several tiles."""
    tiny: tuple[Case, ...]
    """The same for Triton's interpreter, which takes a second for what a GPU does in a microsecond."""
    huge: tuple[Case, ...] = ()
    """Clips of more than 2^31 elements together, which 32 bits do not count."""
    floating: bool = True
    """Tried in every floating type, with gradients."""
    declared: Declared = field(default_factory=dict)
    """By registered name (`spikevrt::...`) what a call moves: `count_operators` sees operators, not their kernels."""
    plans: Mapping[str, Plan] = field(default_factory=dict)
    """Its launches without tensors by what the report calls them."""
