"""What is around the windows, in stage 1 of the default configuration at full resolution, channels last."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import torch

from bench.workloads.workload import Workload
from spikevrt_kernels.core.case import Case
from spikevrt_kernels.deform_conv.spec import GROUPS, MAX_RESIDUE, deform_conv_case
from spikevrt_kernels.geglu_block.spec import fuse_case, geglu_case
from spikevrt_kernels.linear_residual.spec import linear_residual_case
from spikevrt_kernels.norm_linear.spec import norm_linear_case
from spikevrt_kernels.warp_pairs.spec import warp_pairs_case

CHANNELS, FRAMES, RATIO = 96, 5, 2
CHECKED_SIZE = 20
"""Side of the frames in pixels at which entries are checked: a float64 reference at full size would need too much."""
Size5 = tuple[int, int, int, int, int]


@dataclass(frozen=True)
class AroundKind:
    """An operator: how its case is made, and what its result is."""

    name: str
    make: Callable[[Size5], Case]
    """Makes the case from (B,T,h,w,C)."""
    outputs: int = CHANNELS
    """Channels of the result."""
    pairs: bool = False
    """Whether the result holds the neighbours of both directions, (B,2,T-1,h,w,.), else the frames, (B,T,h,w,.)."""

    def case(self, size: int) -> Case:
        """The case on frames of size x size."""
        label = f"{FRAMES}x{size}x{size}x{CHANNELS}"
        return replace(self.make((1, FRAMES, size, size, CHANNELS)), op=self.name, shape=label)

    def out_shape(self, size: int) -> tuple[int, ...]:
        """Shape of the result on frames of size x size."""
        frames = (2, FRAMES - 1) if self.pairs else (FRAMES,)
        return (1, *frames, size, size, self.outputs)


AROUND_KINDS = {
    "norm_linear": AroundKind(
        "norm and projection", lambda size: norm_linear_case(size, 3 * CHANNELS, biased=True), 3 * CHANNELS
    ),
    "linear_residual": AroundKind("projection and residual", lambda size: linear_residual_case(size, CHANNELS)),
    "geglu_block": AroundKind("GEGLU block", lambda size: geglu_case(size, RATIO * CHANNELS, scaled=True)),
    "geglu_fuse": AroundKind("GEGLU fusion", lambda size: fuse_case(size, 3 * CHANNELS)),
    "warp_pairs": AroundKind("input of the offset convolutions", warp_pairs_case, 2 * CHANNELS + 2, pairs=True),
    "deform_conv": AroundKind(
        "deformable convolution", lambda size: deform_conv_case(size, GROUPS, CHANNELS, MAX_RESIDUE), pairs=True
    ),
}


@lru_cache(maxsize=1)
def around_workload(kind: AroundKind, size: int, dtype: torch.dtype, device: str) -> Workload:
    """The workload of an operator on frames of size x size; the last one is cached for its next entry."""
    case, checked = kind.case(size), kind.case(CHECKED_SIZE)
    tokens = FRAMES * size**2
    return Workload(case, checked, dtype, torch.device(device), tokens, CHANNELS, kind.out_shape(size))
