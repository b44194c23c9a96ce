"""The block's kernels compiled ahead of time: spills, shared memory and tensor cores within their targets."""

import pytest
import torch

from spikevrt_kernels.proof.compiler import compile_launch
from spikevrt_kernels.temporal_block.plan import block_launches

MAX_SHARED = 99 * 1024
STACK = {80: 128, 90: 0, 120: 128}
"""Bytes that a kernel may spill by architecture; none on sm_90."""
KERNELS = ("attend", "mlp", "bwd_dy", "bwd_mlp", "bwd_attend", "bwd_project_1", "bwd_project_2")


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("architecture", "T"), [(80, 5), (90, 5), (90, 7), (120, 5)])
def test_resources(architecture, T, kernel):
    launches = block_launches((2, 96, T, 256, 256), torch.bfloat16, architecture)
    resources = compile_launch(launches[kernel], architecture)
    assert resources.stack <= STACK[architecture]
    assert resources.shared <= MAX_SHARED
    assert resources.tensor_core > 0
    if STACK[architecture] == 0:
        assert not resources.spills
