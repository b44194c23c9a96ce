"""The kernels of `norm_linear` and `linear_residual` compiled ahead of time: stack, shared memory, tensor cores.

The widest of the model's need most registers.
"""

import pytest
import torch

from spikevrt_kernels.linear_residual.spec import linear_residual_launches
from spikevrt_kernels.norm_linear.spec import norm_linear_launches
from spikevrt_kernels.proof.compiler import compile_launch

pytestmark = pytest.mark.binaries

ROWS = 5 * 256 * 256
MAX_SHARED = 72 * 1024
STACK = {80: 128, 90: 0, 120: 128}
"""Bytes that a backward kernel may spill by architecture; a forward kernel spills nothing."""
LAUNCHES = {
    "norm 120 to 720": norm_linear_launches(ROWS, 120, 720, torch.bfloat16),
    "norm 180 to 1080": norm_linear_launches(ROWS, 180, 1080, torch.bfloat16),
    "180 to a residual": linear_residual_launches(1, ROWS, 180, 180, torch.bfloat16),
    "360 to a residual": linear_residual_launches(1, ROWS, 180, 360, torch.bfloat16),
}
FORWARD = ("norm 180 to 1080", "180 to a residual")
BACKWARD = (
    ("norm 120 to 720", "bwd_dx"),
    ("norm 180 to 1080", "bwd_dx"),
    ("norm 180 to 1080", "bwd_weights"),
    ("360 to a residual", "bwd_weights"),
)


@pytest.mark.parametrize("architecture", STACK)
@pytest.mark.parametrize("case", FORWARD)
def test_nothing_of_the_forward_spills(case, architecture):
    resources = compile_launch(LAUNCHES[case]["forward"], architecture)
    assert not resources.spills
    assert resources.shared <= MAX_SHARED
    assert resources.tensor_core > 0


@pytest.mark.parametrize("architecture", STACK)
@pytest.mark.parametrize(("case", "kernel"), BACKWARD)
def test_little_of_the_backward_spills(case, kernel, architecture):
    resources = compile_launch(LAUNCHES[case][kernel], architecture)
    assert resources.stack <= STACK[architecture]
    assert resources.shared <= MAX_SHARED
    assert resources.tensor_core > 0
