"""Window attention's kernels compiled ahead of time: spills, shared memory and tensor cores within their targets."""

import pytest
import torch

from spikevrt_kernels.core.tuned import kernels_asked_for, trying
from spikevrt_kernels.proof.compiler import compile_launch
from spikevrt_kernels.proof.work import score_instructions
from spikevrt_kernels.window_attention.spec import window_launches

pytestmark = pytest.mark.binaries

MAX_SHARED = 99 * 1024
STACK = {80: 128, 90: 0, 120: 128}
"""Bytes that a kernel may spill by architecture; none on sm_90."""
PRODUCTS = ("forward", "query_backward", "key_backward")
SMALLER = ("forward", "key_backward")
"""Without the kernel for dq, which takes longest to compile and is in the other group."""
MUTUAL = ("mutual_forward", "mutual_backward")
GROUPS = {  # width, window, mutual, kernels: those of the default model, and of the official one's last stage
    "self-w5": (96, (5, 8, 8), False, SMALLER),
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


INSTRUCTIONS = {  # architecture: of the forward, and of both backward kernels together
    80: (160, 565),
    90: (155, 550),
}
MOST_REGISTERS = 224


def inner_launches(architecture):
    """Windows without padding, wrap and regions take loops of their own; the projection has added the offsets."""
    shape, window, shift = (1, 7, 256, 256, 96), (6, 8, 8), (3, 4, 4)
    return window_launches(shape, torch.bfloat16, architecture, False, 6, window, shift, added=True)


def loops_of(launch, architecture):
    """Instructions of each loop for 64 x 32 scores; no assembler may need a stack."""
    resources = compile_launch(launch, architecture)
    assert resources.registers <= MOST_REGISTERS
    assert not resources.spills
    assert not any(one.stack for one in resources.assembled)
    scores = launch.arguments["OWN"] * launch.arguments["PASSING"] * launch.arguments.get("PART", 1)
    return score_instructions(launch, architecture, scores)


@pytest.mark.parametrize("architecture", INSTRUCTIONS)
def test_instructions_for_64_by_32_scores_of_inner_windows(architecture):
    """Their loops are the shortest of each kernel; each part of the one for dq has a loop for them, one for others."""
    launches = inner_launches(architecture)
    forward, backward = INSTRUCTIONS[architecture]
    assert min(loops_of(launches["forward"], architecture)) <= forward
    of_queries, of_keys = (loops_of(launches[kernel], architecture) for kernel in ("query_backward", "key_backward"))
    assert max(of_queries[::2]) + min(of_keys) <= backward


PAIRED_INSTRUCTIONS = {80: 133, 90: 139}
"""Of a forward program with two inner windows, for 64 x 32 scores of one of them."""


@pytest.mark.parametrize("architecture", PAIRED_INSTRUCTIONS)
def test_two_windows_a_program_share_the_loads_of_the_bias(architecture):
    with kernels_asked_for() as kernels:
        inner_launches(architecture)
    with trying({kernel: (64, 64, 4, 2) for kernel in kernels if kernel.name == "forward"}):
        launch = inner_launches(architecture)["forward"]
    together, *_alone = loops_of(launch, architecture)
    assert together / 2 <= PAIRED_INSTRUCTIONS[architecture]
