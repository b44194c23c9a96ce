"""Window attention as in the blocks of the model and of the official configuration, at full resolution."""

from dataclasses import dataclass, replace
from functools import lru_cache

import torch

from bench.workloads.workload import Workload
from spikevrt_kernels.core.case import Case
from spikevrt_kernels.window_attention.spec import window_attention_case
from spikevrt_kernels.window_attention.windows import Size3

HEADS = 6
FULL_SIZE, REDUCED_SIZE, CHECKED_SIZE = 256, 64, 20
"""Sides of the frames in pixels. Entries are checked on the last size, which has shifted, whole and padded windows.

A float64 reference at full size would need tens of GB.
"""


@dataclass(frozen=True)
class WindowKind:
    """A kind of shifted block: frames, channels, window."""

    name: str
    frames: int
    channels: int
    window: Size3
    mutual: bool = False

    @property
    def shift(self) -> Size3:
        """The shift (d,h,w): half a window."""
        d, h, w = self.window
        return d // 2, h // 2, w // 2

    def case(self, size: int) -> Case:
        """The case of a shifted block on frames of size x size."""
        shape = (1, self.frames, size, size)
        case = window_attention_case(shape, self.channels, HEADS, self.window, self.shift, self.mutual)
        label = f"{self.frames}x{size}x{size}x{self.channels}, windows {'x'.join(map(str, self.window))}, shifted"
        return replace(case, op=self.name, shape=label)


WINDOW_KINDS = {
    "self": WindowKind("window attention", 5, 96, (5, 8, 8)),
    "mutual": WindowKind("mutual and self window attention", 5, 96, (2, 8, 8), mutual=True),
    "frames": WindowKind("window attention inside frames", 5, 96, (1, 8, 8)),
    "official-self": WindowKind("window attention", 6, 96, (6, 8, 8)),
    "official-mutual": WindowKind("mutual and self window attention", 6, 96, (2, 8, 8), mutual=True),
    "official-stage8": WindowKind("window attention", 6, 120, (6, 8, 8)),
    "official-frames": WindowKind("window attention inside frames", 6, 120, (1, 8, 8)),
}


@lru_cache(maxsize=1)
def window_workload(group: WindowKind, size: int, dtype: torch.dtype, device: str) -> Workload:
    """The workload of a kind on frames of size x size; the last one is cached for its next entry."""
    out_shape = (1, group.frames, size, size, group.channels * (2 if group.mutual else 1))
    tokens = group.frames * size**2
    checked = group.case(CHECKED_SIZE)
    return Workload(group.case(size), checked, dtype, torch.device(device), tokens, group.channels, out_shape)
