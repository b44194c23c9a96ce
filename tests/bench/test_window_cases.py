"""The suite's window attention: entries are right on the checked frames, proof rows without a GPU hold together."""

import pytest
import torch

from bench.cases import DIRECTIONS
from bench.window_cases import CHECKED_SIZE, GROUPS, window_case
from bench.window_proof import window_proof_row


@pytest.mark.parametrize("group", ["mutual", "frames"])
def test_entries_are_right_where_they_are_checked(group):
    case = window_case(GROUPS[group], CHECKED_SIZE, torch.float32, "cpu")
    for entry in ("naive", "sdpa"):
        case.check(entry)
    assert case.gradient.shape == case.functions["sdpa"](case.leaves).shape


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_proof_rows(direction):
    row = window_proof_row(GROUPS["official-mutual"], CHECKED_SIZE, direction)
    assert row.seconds is None
    assert row.bounds["H100 SXM"] < row.bounds["RTX A6000"]
    if direction == DIRECTIONS[0]:
        assert row.moved == 8 * row.unit, "q, k, v in and the result out, in each branch"
        assert row.peak < 3 * row.unit, "the result and the logs of its sums"
