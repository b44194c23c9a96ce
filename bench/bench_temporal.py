"""Operators along time at the model's four scales, by the published loop and by all backends."""

from functools import partial

import pytest

from bench.results.measure import Compare
from bench.without_gpu.declared import proof_along_time
from bench.workloads.temporal import OPERATORS, SCALE_COUNT, entries, shapes, temporal_workload
from bench.workloads.workload import ALL_ENTRIES, DIRECTIONS

ENTRIES = ALL_ENTRIES


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("scale", range(SCALE_COUNT), ids=lambda i: f"scale{i + 1}")
@pytest.mark.parametrize("operator", OPERATORS)
def test_along_time(compare: Compare, operator: str, scale: int, direction: str, attn_backend: str, full: bool) -> None:
    if attn_backend not in entries(operator):
        pytest.skip("nn.MultiheadAttention knows no attention without its projections")
    shape = shapes(full)[scale]
    compare(partial(temporal_workload, operator, shape), partial(proof_along_time, operator, shape), direction)
