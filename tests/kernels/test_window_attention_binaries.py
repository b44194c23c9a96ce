"""Window attention's kernels compiled ahead of time: spills, shared memory and tensor cores within their targets."""

import pytest
import torch

from spikevrt_kernels.proof.compiler import compile_launch
from spikevrt_kernels.window_attention.spec import window_launches

MAX_SHARED = 99 * 1024
STACK = {80: 128, 90: 0, 120: 128}
"""Bytes that a kernel may spill by architecture; none on sm_90."""
PRODUCTS = ("forward", "backward", "bias_backward")
MUTUAL = ("mutual_forward", "mutual_backward")
GROUPS = {  # width, window, mutual, kernels: those of the default model, and of the official one's last stage
    "self-w5": (96, (5, 8, 8), False, PRODUCTS),
    "mutual-w2": (96, (2, 8, 8), True, MUTUAL),
    "self-w6-E20": (120, (6, 8, 8), False, PRODUCTS),
}
CASES = [(name, kernel) for name, (*_, kernels) in GROUPS.items() for kernel in kernels]


def launch_of(group, kernel, architecture, size=256, dtype=torch.bfloat16):
    """A shifted block on one frame more than the window, so that frames and regions are in it."""
    C, window, mutual, _ = GROUPS[group]
    shift = tuple(s // 2 for s in window)
    return window_launches((1, window[0] + 1, size, size, C), dtype, architecture, mutual, 6, window, shift)[kernel]


@pytest.mark.parametrize("architecture", STACK)
@pytest.mark.parametrize(("group", "kernel"), CASES, ids=["-".join(case) for case in CASES])
def test_resources(group, kernel, architecture):
    resources = compile_launch(launch_of(group, kernel, architecture), architecture)
    assert resources.stack <= STACK[architecture]
    assert resources.shared <= MAX_SHARED
    assert resources.tensor_core > 0
    assert resources.wide_loads > 0
    if STACK[architecture] == 0:
        assert not resources.spills


def test_the_sum_by_distance_needs_no_products():
    resources = compile_launch(launch_of("self-w5", "table_backward", 90), 90)
    assert not resources.spills


def test_a_whole_batch_of_large_frames_is_on_the_only_axis_that_takes_it():
    launches = window_launches((2, 6, 1080, 1920, 96), torch.bfloat16, 90, True, 6, (2, 8, 8), (1, 4, 4))
    for launch in launches.values():
        assert all(programs <= 65_535 for programs in launch.grid[1:])
    assert launches["forward"].grid[0] > 65_535
    assert not compile_launch(launches["mutual_forward"], 90).spills
