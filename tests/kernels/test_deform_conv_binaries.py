"""The deformable convolution's kernels compiled ahead of time: spills, shared memory and tensor cores."""

import pytest
import torch

from spikevrt_kernels.deform_conv.spec import align_launches
from spikevrt_kernels.proof.compiler import compile_launch

pytestmark = pytest.mark.binaries

MAX_SHARED = 16 * 1024
STACK = {80: 0, 90: 0, 100: 0, 120: 16}
"""Bytes that a backward kernel may spill by architecture."""
PRODUCTS = ("forward", "bwd_gradients")
WIDTHS = {"C96": (96, 16), "C120": (120, 12)}


def resources_of(width, kernel, architecture):
    C, groups = WIDTHS[width]
    return compile_launch(align_launches((1, 5, 256, 256, C), torch.bfloat16, groups)[kernel], architecture)


@pytest.mark.parametrize("architecture", STACK)
@pytest.mark.parametrize("kernel", PRODUCTS)
def test_resources(kernel, architecture):
    resources = resources_of("C96", kernel, architecture)
    assert resources.stack <= (0 if kernel == "forward" else STACK[architecture])
    assert resources.shared <= MAX_SHARED
    assert resources.tensor_core > 0


@pytest.mark.parametrize(("kernel", "architecture"), [("forward", 80), ("bwd_gradients", 90)])
def test_resources_of_another_width(kernel, architecture):
    assert not resources_of("C120", kernel, architecture).spills


@pytest.mark.parametrize("kernel", ["bwd_bias", "bwd_convert"])
def test_what_multiplies_nothing_spills_nothing(kernel):
    assert not resources_of("C96", kernel, 90).spills


def test_programs_of_large_frames_are_on_the_only_axis_that_takes_them():
    for launch in align_launches((2, 7, 1080, 1920, 96), torch.bfloat16).values():
        assert all(programs <= 65_535 for programs in launch.grid[1:])
