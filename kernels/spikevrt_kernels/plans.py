"""All kernels by operator, as launches without tensors: what the report compiles."""

from collections.abc import Callable
from functools import partial

import torch

from spikevrt_kernels.launches import Launch
from spikevrt_kernels.temporal_attention.plan import attention_launches
from spikevrt_kernels.temporal_block.plan import block_launches

Plan = Callable[[int, torch.dtype, int], dict[str, Launch]]
"""T, type and architecture (90 for sm_90) -> the launches of forward and backward by name."""
BATCH, CHANNELS, SIZE = 2, 96, 256
"""The default configuration: its first scale."""


def attention_plan(T: int, dtype: torch.dtype, architecture: int) -> dict[str, Launch]:
    """Attention along time; its launches do not depend on the architecture."""
    return attention_launches((BATCH, CHANNELS, T, SIZE, SIZE), dtype)


def block_plan(cross: bool, T: int, dtype: torch.dtype, architecture: int) -> dict[str, Launch]:
    """The block along time."""
    return block_launches((BATCH, CHANNELS, T, SIZE, SIZE), dtype, architecture, cross)


PLANS: dict[str, Plan] = {
    "attention along time": attention_plan,
    "self block": partial(block_plan, False),
    "cross block": partial(block_plan, True),
}
