"""The kernels that write the input of the offset convolutions compiled ahead of time: spills and shared memory."""

import pytest
import torch

from spikevrt_kernels.proof.compiler import compile_launch
from spikevrt_kernels.warp_pairs.spec import warp_launches

pytestmark = pytest.mark.binaries

MAX_SHARED, MAX_REGISTERS = 16 * 1024, 128
KERNELS = ("forward", "bwd_flow", "bwd_scatter", "bwd_convert")


def resources_of(C, kernel, architecture):
    return compile_launch(warp_launches((1, 5, 256, 256, C), torch.bfloat16)[kernel], architecture)


@pytest.mark.parametrize("architecture", [80, 90, 120])
@pytest.mark.parametrize("kernel", KERNELS)
def test_resources(kernel, architecture):
    resources = resources_of(96, kernel, architecture)
    assert not resources.spills
    assert resources.registers <= MAX_REGISTERS
    assert resources.shared <= MAX_SHARED


@pytest.mark.parametrize("kernel", ["forward", "bwd_scatter"])
def test_resources_of_another_width(kernel):
    assert not resources_of(120, kernel, 80).spills


def test_programs_of_large_frames_are_on_the_only_axis_that_takes_them():
    for launch in warp_launches((2, 7, 1080, 1920, 96), torch.bfloat16).values():
        assert len(launch.grid) == 1
