"""The block's kernels compiled ahead of time: spills, shared memory and tensor cores within their targets."""

import pytest
import torch

from spikevrt_kernels.proof.compiler import compile_launch
from spikevrt_kernels.temporal_block.spec import block_launches

pytestmark = pytest.mark.binaries

MAX_SHARED = 99 * 1024
STACK = {80: 128, 90: 0, 100: 0, 120: 128}
"""Bytes that a kernel may spill by architecture; none on sm_90 and sm_100."""
FORWARD = {80: ("attend", "mlp"), 90: ("block",), 100: ("block",), 120: ("attend", "mlp")}
BACKWARD = ("bwd_dy", "bwd_mlp", "bwd_attend", "bwd_project_3")
CROSS = ("block", "bwd_attend", "bwd_project_1", "bwd_project_2")
"""Those that differ from a self block's."""
TARGETS = [(80, 5), (90, 5), (90, 7), (100, 5), (100, 7), (120, 5)]
CASES = [(a, T, kernel) for a, T in TARGETS for kernel in (*FORWARD[a], *BACKWARD)]


def within_limits(architecture, T, kernel, cross=False, dtype=torch.bfloat16, dropout_p=0.0):
    launches = block_launches((2, 96, T, 256, 256), dtype, architecture, cross, dropout_p=dropout_p)
    resources = compile_launch(launches[kernel], architecture)
    assert resources.stack <= STACK[architecture]
    assert resources.shared <= MAX_SHARED
    assert resources.tensor_core > 0
    if STACK[architecture] == 0:
        assert not resources.spills


@pytest.mark.parametrize(("architecture", "T", "kernel"), CASES)
def test_resources(architecture, T, kernel):
    within_limits(architecture, T, kernel)


@pytest.mark.parametrize("architecture", [90, 100])
def test_resources_without_gradients(architecture):
    within_limits(architecture, 7, "block_inference")


@pytest.mark.parametrize("cross", [False, True])
def test_resources_of_more_frames_than_one_kernel_takes(cross):
    within_limits(100, 8, "attend", cross)


@pytest.mark.parametrize("kernel", CROSS)
@pytest.mark.parametrize("architecture", [90, 100])
def test_resources_of_a_cross_block(architecture, kernel):
    within_limits(architecture, 7, kernel, cross=True)


@pytest.mark.parametrize("kernel", ["block", "bwd_attend"])
@pytest.mark.parametrize("architecture", [90, 100])
def test_resources_in_float16(architecture, kernel):
    within_limits(architecture, 7, kernel, dtype=torch.float16)


@pytest.mark.parametrize("cross", [False, True])
@pytest.mark.parametrize(("architecture", "kernel"), [(a, k) for a in STACK for k in (FORWARD[a][0], "bwd_attend")])
def test_resources_with_dropout(architecture, kernel, cross):
    within_limits(architecture, 7, kernel, cross, dropout_p=0.1)
