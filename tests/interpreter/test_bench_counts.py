"""The bytes that the bench predicts for the Triton entry are those that the interpreter counts."""

import pytest

from bench.results.measure import predict_saved
from bench.without_gpu.counts import COUNTED_DTYPE, COUNTED_TILES, count
from bench.workloads.temporal import OPERATORS, temporal_workload


@pytest.mark.parametrize("operator", OPERATORS)
def test_saved_bytes_are_planned_as_they_are_kept(operator):
    work = temporal_workload(operator, COUNTED_TILES, COUNTED_DTYPE, "cpu")
    assert predict_saved(work, "triton") == round(count(work).saved * work.unit)
