"""Tuned tile sizes give the right numbers: tall tiles, other numbers of parts, wide window tiles."""

import pytest
import torch

from bench.tuning.subjects import candidates
from spikevrt_kernels.checks.comparison import Judge
from spikevrt_kernels.core.case import pure
from spikevrt_kernels.core.tuned import kernels_asked_for, trying
from spikevrt_kernels.temporal_block.spec import temporal_block_case
from spikevrt_kernels.window_attention.spec import window_attention_case

CASES = (
    temporal_block_case((1, 24, 2, None, 5, 15), 2, 3),
    temporal_block_case((1, 24, 2, 2, 5, 15), 2, 3),
    window_attention_case((1, 3, 9, 7), 16, 1, (2, 4, 4), (1, 2, 2), mutual=True),
)
"""75 pixels are more than one tile of 64, and 72 hidden channels more than two slices."""
PLACES = ((0, 5), (1, 4), (1, 6), (2, 3), (2, 7))
"""A case, and the place of the row that each of its kernels takes."""


@pytest.mark.parametrize(("case", "place"), [(CASES[i], place) for i, place in PLACES])
def test_a_row_is_right(case, place):
    judge = Judge(pure(torch.float32), torch.device("cpu"))
    with kernels_asked_for() as kernels:
        judge.compare(case, "triton")
    rows = {kernel: candidates(kernel)[place % len(candidates(kernel))] for kernel in kernels}
    with trying(rows):
        assert judge.compare(case, "triton").reason is None
