"""Window attention at full resolution, the model's groups and the official configuration's: `naive`, `sdpa`, `triton`.

An entry is checked against float64 first, on small frames. Without a GPU the rows of `triton` show what the kernels
declare in place of times.
"""

from typing import Any

import pytest
import torch

from bench.cases import DIRECTIONS
from bench.measure import measure
from bench.rows import Row
from bench.window_cases import BACKENDS, FULL_SIZE, GROUPS, REDUCED_SIZE, window_case
from bench.window_proof import window_proof_row
from spikevrt_kernels.backends import why_not_triton
from spikevrt_kernels.window_attention.cost import DECLARED

ENTRIES = BACKENDS
pytestmark = pytest.mark.filterwarnings("ignore:Benchmark fixture was not used")


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("group", GROUPS)
def test_windows(
    benchmark: Any,
    group: str,
    direction: str,
    attn_backend: str,
    rows: list[Row],
    full: bool,
    device: str,
    dtype: torch.dtype,
) -> None:
    size = FULL_SIZE if full else REDUCED_SIZE
    if attn_backend == "triton" and why_not_triton() is not None:
        rows.append(window_proof_row(GROUPS[group], size, direction))
        pytest.skip(f"{why_not_triton()}; its row shows proof figures")
    case = window_case(GROUPS[group], size, dtype, device)
    rows.append(measure(benchmark, case, attn_backend, direction, DECLARED))
