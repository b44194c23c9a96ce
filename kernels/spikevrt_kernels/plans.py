"""All kernels by operator, as launches without tensors: what the report compiles."""

from collections.abc import Callable
from functools import partial

import torch

from spikevrt_kernels.launches import Launch
from spikevrt_kernels.temporal_attention.plan import attention_launches
from spikevrt_kernels.temporal_block.plan import block_launches
from spikevrt_kernels.window_attention.plan import window_launches

Plan = Callable[[int, torch.dtype, int], dict[str, Launch]]
"""T, type and architecture (90 for sm_90) -> the launches of forward and backward by name."""
BATCH, CHANNELS, SIZE = 2, 96, 256
"""The default configuration: its first scale."""
PLACES = (8, 8)
"""Of a window; it covers all T frames, in mutual attention two."""


def attention_plan(T: int, dtype: torch.dtype, architecture: int) -> dict[str, Launch]:
    """Attention along time; its launches do not depend on the architecture."""
    return attention_launches((BATCH, CHANNELS, T, SIZE, SIZE), dtype)


def block_plan(cross: bool, T: int, dtype: torch.dtype, architecture: int) -> dict[str, Launch]:
    """The block along time."""
    return block_launches((BATCH, CHANNELS, T, SIZE, SIZE), dtype, architecture, cross)


def window_plan(mutual: bool, T: int, dtype: torch.dtype, architecture: int) -> dict[str, Launch]:
    """Window attention of a shifted block, with its mutual branch in windows of two frames or alone."""
    d = 2 if mutual else T
    shift = (d // 2, PLACES[0] // 2, PLACES[1] // 2)
    shape = (BATCH, T, SIZE, SIZE, CHANNELS)
    return window_launches(shape, dtype, architecture, mutual, window=(d, *PLACES), shift=shift)


PLANS: dict[str, Plan] = {
    "attention along time": attention_plan,
    "self block": partial(block_plan, False),
    "cross block": partial(block_plan, True),
    "window attention": partial(window_plan, False),
    "mutual window attention": partial(window_plan, True),
}
