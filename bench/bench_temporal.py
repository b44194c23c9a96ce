"""The operators along time on the model's four scales: the published loop, `naive`, `sdpa` and `triton`.

An entry is checked against float64 first. Without a GPU the rows of `triton` show their proof in place of times.
"""

from typing import Any

import pytest
import torch

from bench.cases import DIRECTIONS
from bench.measure import measure
from bench.proof_rows import proof_row
from bench.rows import Row
from bench.temporal_cases import OPERATORS, SCALES, entries, shapes, temporal_case
from spikevrt_kernels.backends import why_not_triton
from spikevrt_kernels.temporal_attention import cost as attention_cost
from spikevrt_kernels.temporal_block import cost as block_cost

ENTRIES = ("published", "naive", "sdpa", "triton")
pytestmark = pytest.mark.filterwarnings("ignore:Benchmark fixture was not used")
DECLARED = {**attention_cost.DECLARED, **block_cost.DECLARED}


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("scale", range(SCALES), ids=lambda i: f"scale{i + 1}")
@pytest.mark.parametrize("operator", OPERATORS)
def test_along_time(
    benchmark: Any,
    operator: str,
    scale: int,
    direction: str,
    attn_backend: str,
    rows: list[Row],
    full: bool,
    device: str,
    dtype: torch.dtype,
) -> None:
    if attn_backend not in entries(operator):
        pytest.skip("nn.MultiheadAttention knows no attention without its projections")
    shape = shapes(full)[scale]
    if attn_backend == "triton" and why_not_triton() is not None:
        rows.append(proof_row(operator, shape, direction))
        pytest.skip(f"{why_not_triton()}; its row shows proof figures")
    case = temporal_case(operator, shape, dtype, device)
    rows.append(measure(benchmark, case, attn_backend, direction, DECLARED))
