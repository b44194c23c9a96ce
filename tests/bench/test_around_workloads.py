"""The bench's operators around the windows: entries are right where they are checked, declared bytes without a GPU."""

import pytest
import torch

from bench.without_gpu.declared import DTYPE, declared_around
from bench.workloads.around import AROUND_KINDS, around_workload
from bench.workloads.workload import DIRECTIONS

SIZE = 16
UNITS = {
    "norm_linear": 1 + 3,
    "linear_residual": 3,
    "geglu_block": 2,
    "geglu_fuse": 1 + 2 * 4 / 5 + 1,
    "warp_pairs": 4 * 2 * 4 / 5,
    "deform_conv": (1 + 27 * 16 / 96 + 1) * 2 * 4 / 5,
}
"""Units of a feature tensor that the forward reads and writes; two times 4 neighbours for 5 frames."""


@pytest.mark.parametrize("name", AROUND_KINDS)
def test_entries_are_right_where_they_are_checked(name):
    work = around_workload(AROUND_KINDS[name], 6, torch.float32, "cpu")
    work.check("sdpa")
    assert work.gradient.shape == work.run("naive", work.leaves).shape


@pytest.mark.parametrize("name", AROUND_KINDS)
def test_declared_without_a_gpu(name):
    kind = AROUND_KINDS[name]
    forward, both = (declared_around(kind, SIZE, direction) for direction in DIRECTIONS)
    unit = around_workload(kind, SIZE, DTYPE, "cpu").unit
    assert UNITS[name] <= forward.cost.bytes / unit < 1.04 * UNITS[name], "flow and scales beside the features"
    assert forward.cost.bytes < both.cost.bytes
    assert (forward.flops > 0) == (name != "warp_pairs")
    assert 2 * forward.flops <= both.flops
    assert set(forward.launches(90)) < set(both.launches(90))
    assert len(both.launches(90)) <= both.cost.launches
