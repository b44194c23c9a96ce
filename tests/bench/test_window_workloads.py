"""The suite's window attention: entries are right on the checked frames, proof rows without a GPU hold together."""

import pytest
import torch

from bench.measure import predict_saved, saved_bytes
from bench.proof_rows import window_row
from bench.window_workloads import CHECKED_SIZE, GROUPS, window_workload
from bench.workload import DIRECTIONS


@pytest.mark.parametrize("group", ["mutual", "frames"])
def test_entries_are_right_where_they_are_checked(group):
    work = window_workload(GROUPS[group], CHECKED_SIZE, torch.float32, "cpu")
    for entry in ("naive", "sdpa"):
        work.check(entry)
        assert predict_saved(work, entry) == saved_bytes(work, entry)
    assert work.gradient.shape == work.run("sdpa", work.leaves).shape


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_proof_rows(direction):
    row = window_row(GROUPS["official-mutual"], CHECKED_SIZE, direction)
    assert row.seconds is None
    assert row.bounds["H100 SXM"] < row.bounds["RTX A6000"]
    if direction == DIRECTIONS[0]:
        assert row.moved == 8 * row.unit, "q, k, v in and the result out, in each branch"
        assert row.peak < 3 * row.unit, "the result and the logs of its sums"
        assert row.saved is None
    else:
        assert 8 * row.unit < row.saved < 8.3 * row.unit, "q, k, v and the result in each branch, and the logs"
