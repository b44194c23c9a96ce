"""Window attention at full resolution, of the model and of the official configuration: `naive`, `sdpa`, `triton`."""

from functools import partial

import pytest

from bench.measure import Compare
from bench.without_gpu.rows import window_row
from bench.workloads.windows import FULL_SIZE, GROUPS, REDUCED_SIZE, window_workload
from bench.workloads.workload import BACKENDS, DIRECTIONS

ENTRIES = BACKENDS


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("group", GROUPS)
def test_windows(compare: Compare, group: str, direction: str, full: bool) -> None:
    kind, size = GROUPS[group], FULL_SIZE if full else REDUCED_SIZE
    compare(partial(window_workload, kind, size), partial(window_row, kind, size), direction)
