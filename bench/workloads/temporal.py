"""The operators along time on the model's four scales."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor

from bench.workloads.published import published_block
from bench.workloads.workload import ALL_ENTRIES, BACKENDS, Workload
from spikevrt_kernels.core.case import Case
from spikevrt_kernels.temporal_attention.spec import temporal_attention_case
from spikevrt_kernels.temporal_block import Chunking
from spikevrt_kernels.temporal_block.spec import temporal_block_case

BATCH, CHANNELS, FRAMES, HEADS, RATIO = 1, 96, 5, 4, 2
FULL_SIZE, REDUCED_SIZE = 256, 64
"""Side of the first scale; each further scale halves it."""
SCALES = 4
ATTENTION, SELF, CROSS = "attention along time", "self block", "cross block"
OPERATORS = (ATTENTION, SELF, CROSS)


def shapes(full: bool) -> list[tuple[int, ...]]:
    """(B,C,T,H,W) of the four scales."""
    size = FULL_SIZE if full else REDUCED_SIZE
    return [(BATCH, CHANNELS, FRAMES, size >> scale, size >> scale) for scale in range(SCALES)]


def entries(operator: str) -> tuple[str, ...]:
    """What is compared: nn.MultiheadAttention knows no attention without its projections."""
    return BACKENDS if operator == ATTENTION else ALL_ENTRIES


@lru_cache(maxsize=1)
def temporal_workload(operator: str, shape: tuple[int, ...], dtype: torch.dtype, device: str) -> Workload:
    """One operator on (B,C,T,H,W); the last one is kept, since its entries follow one another."""
    B, C, T, H, W = shape
    case = replace(temporal_case(operator, shape), op=operator, shape="x".join(map(str, shape)))
    return Workload(case, case, dtype, torch.device(device), B * T * H * W, C, shape)


def temporal_case(operator: str, shape: tuple[int, ...]) -> Case:
    """The operator as the model calls it, with the default chunks."""
    B, C, T, H, W = shape
    if operator == ATTENTION:
        return temporal_attention_case(B, C, T, T, H, W, HEADS)
    cross = operator == CROSS
    return with_published(temporal_block_case((B, C, T, T if cross else None, H, W), HEADS, RATIO, Chunking()))


def with_published(case: Case) -> Case:
    """A block's case with one more backend, the published loop."""

    def run(inputs: Sequence[Tensor], backend: str) -> Tensor:
        if backend != "published":
            return case.run(inputs, backend)
        context = inputs[1] if case.features > 1 else None
        return published_block(inputs[0], context, inputs[case.features :], HEADS)

    return replace(case, run=run)
