"""Window attention of the model and of the official configuration at full resolution, by all backends."""

from functools import partial

import pytest

from bench.results.measure import Compare
from bench.without_gpu.declared import proof_in_windows
from bench.workloads.windows import FULL_SIZE, REDUCED_SIZE, WINDOW_KINDS, window_workload
from bench.workloads.workload import BACKENDS, DIRECTIONS

ENTRIES = BACKENDS


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("group", WINDOW_KINDS)
def test_windows(compare: Compare, group: str, direction: str, full: bool) -> None:
    kind, size = WINDOW_KINDS[group], FULL_SIZE if full else REDUCED_SIZE
    compare(partial(window_workload, kind, size), partial(proof_in_windows, kind, size), direction)
