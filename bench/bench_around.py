"""The operators around window attention at full resolution, by all backends."""

from functools import partial

import pytest

from bench.results.measure import Compare
from bench.without_gpu.declared import proof_around
from bench.workloads.around import AROUND_KINDS, around_workload
from bench.workloads.windows import FULL_SIZE, REDUCED_SIZE
from bench.workloads.workload import BACKENDS, DIRECTIONS

ENTRIES = BACKENDS


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("kind", AROUND_KINDS)
def test_around(compare: Compare, kind: str, direction: str, full: bool) -> None:
    own, size = AROUND_KINDS[kind], FULL_SIZE if full else REDUCED_SIZE
    compare(partial(around_workload, own, size), partial(proof_around, own, size), direction)
