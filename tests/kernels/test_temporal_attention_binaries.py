"""Attention along time compiled ahead of time: no spills, no shared memory."""

import pytest
import torch

from spikevrt_kernels.proof.compiler import compile_launch
from spikevrt_kernels.temporal_attention.triton.launch import backward_launch, forward_launch

pytestmark = pytest.mark.binaries

ARCHITECTURES = (80, 90, 120)
CASES = {
    "T5-bf16": (5, torch.bfloat16, 256),
    "T5-fp16": (5, torch.float16, 256),
    "T7-fp16": (7, torch.float16, 256),
    "T7-bf16-odd": (7, torch.bfloat16, 255),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_nothing_spills(architecture, case):
    T, dtype, size = case
    x = torch.empty(2, 96, T, size, size, dtype=dtype, device="meta")
    for launch in (forward_launch(x, x, x, 4, 0.0, None)[0], backward_launch(x, x, x, x, 4, 0.0, None)[0]):
        resources = compile_launch(launch, architecture)
        assert not resources.spills
        assert resources.registers <= 255
        assert resources.shared == 0


def test_dropout_does_not_spill_either():
    x = torch.empty(2, 96, 5, 256, 256, dtype=torch.bfloat16, device="meta")
    seed = torch.empty(1, dtype=torch.int64, device="meta")
    for launch in (forward_launch(x, x, x, 4, 0.1, seed)[0], backward_launch(x, x, x, x, 4, 0.1, seed)[0]):
        assert not compile_launch(launch, 90).spills


def test_batch_offsets_are_64_bits_wide():
    """A batch of wide features passes 2^31 elements: strides beyond int32 compile as int64."""
    x = torch.empty(2, 288, 8, 1080, 1920, dtype=torch.bfloat16, device="meta")
    launch = forward_launch(x, x, x, 12, 0.0, None)[0]
    assert launch.arguments["stride_qb"] > 2**31
    assert not compile_launch(launch, 90).spills
    assert launch.grid[1] <= 65_535, "pixels are on the only axis that may pass it"
    assert launch.grid[2] <= 65_535, "so is the batch"
