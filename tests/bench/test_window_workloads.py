"""The bench's window attention: entries are right on the checked frames, and proof rows work without a GPU."""

import pytest
import torch

from bench.results.measure import predict_saved, saved_bytes
from bench.without_gpu.declared import proof_in_windows
from bench.without_gpu.page import window_table
from bench.without_gpu.traffic import traffic_in_windows
from bench.workloads.windows import CHECKED_SIZE, WINDOW_KINDS, window_workload
from bench.workloads.workload import DIRECTIONS

MUTUAL_OFFSET = 64 * 3 * 96 * 2
"""Bytes of the offset of q, k, v at each place of a window's frame, which is a feature of its own."""


@pytest.mark.parametrize("group", ["mutual", "frames"])
def test_entries_are_right_where_they_are_checked(group):
    work = window_workload(WINDOW_KINDS[group], CHECKED_SIZE, torch.float32, "cpu")
    for entry in ("naive", "sdpa"):
        work.check(entry)
        assert predict_saved(work, entry) == saved_bytes(work, entry)
    assert work.gradient.shape == work.run("sdpa", work.leaves).shape


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_proof_rows(direction):
    row = proof_in_windows(WINDOW_KINDS["official-mutual"], CHECKED_SIZE, direction)
    assert row.seconds is None
    assert row.bounds["H100 SXM"] <= row.bounds["RTX A6000"], "on small features the host binds on both"
    if direction == DIRECTIONS[0]:
        assert row.moved == 8 * row.unit, "q, k, v in and the result out, in each branch"
        assert row.peak < 3 * row.unit, "the result and the logs of its sums"
        assert row.saved is None
    else:
        kept = row.saved - MUTUAL_OFFSET
        assert 8 * row.unit < kept < 8.3 * row.unit, "q, k, v and the result in each branch, and the logs"


def test_traffic_of_every_entry_is_counted_without_storage():
    rows = {(row.operator.rpartition(" ")[2], row.entry): row for row in traffic_in_windows(size=32)}
    for kind, forward, saved in (("self", 4, 4.2), ("mutual", 8, 8.4)):
        naive, sdpa, fused = (rows[kind, entry] for entry in ("naive", "sdpa", "triton"))
        assert fused.forward == forward, "q, k, v in and the result out, in each branch"
        assert fused.forward < sdpa.forward < naive.forward
        assert fused.both < naive.both
        assert fused.saved < saved < naive.saved
        assert fused.both_launches < naive.both_launches < sdpa.both_launches
    assert len(window_table(list(rows.values())).splitlines()) == 2 + len(rows)
