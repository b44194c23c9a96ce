"""The instructions of a launch, against sums by hand and against those of real kernels."""

import math

import numpy as np
import pytest
import torch
from triton.backends.compiler import GPUTarget

from spikevrt_kernels.core.keys import signature_of
from spikevrt_kernels.proof.compiler import build
from spikevrt_kernels.proof.machine_code import Loop
from spikevrt_kernels.proof.trips import Trips, folded, trips_of
from spikevrt_kernels.proof.work import UncountedError, launch_work, score_instructions, without_unrolled
from spikevrt_kernels.window_attention.spec import window_launches
from tests.toy_kernels import branching, exponentials, growing, row_product, unknown

ARCHITECTURES = (80, 90, 100, 120)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_instructions_run_as_often_as_the_loops_around_them(architecture):
    """7 tiles among 3 programs, 5 turns each, 4,096 numbers for 64 threads."""
    work = launch_work(exponentials(7, 5, 3), architecture)
    assert work.exponentials == pytest.approx(7 * 5 * 4096 / 32)
    # A product with the total and its addition to it; the compiler may scale the exponent to spare tiny ones.
    assert 2 * work.exponentials <= work.float32 <= 4 * work.exponentials
    more = launch_work(exponentials(7, 10, 3), architecture)
    assert more.exponentials == pytest.approx(2 * work.exponentials)
    assert work.instructions < more.instructions < 2 * work.instructions


def test_without_loops_every_instruction_runs_once():
    one, two = (launch_work(row_product(rows, 128), 90) for rows in (1, 2))
    assert one.exponentials == two.exponentials == 0
    # Of one row its square; of two, the sum and two products: 4 numbers a thread, 32 warps.
    assert two.float32 - one.float32 == pytest.approx(32 * 4 * 2, abs=32 * 8)


def test_loops_that_the_assembler_wrote_turn_by_turn_are_no_longer_loops():
    """Only where all run equally often it does not matter which of them are left."""

    def around(*turns):
        return Trips(np.ones(()), [Trips(np.asarray(turn)) for turn in turns])

    binary = Loop(0, frozenset(range(9)), [Loop(3, frozenset((3, 4)))])
    assert [one.count for one in without_unrolled(around(2, 2, 2), binary).inner] == [2]
    assert [one.count for one in without_unrolled(around(2, 3), binary).inner] == [2, 3]
    assert without_unrolled(around(), binary).inner == []


def test_a_loop_that_the_assembler_unrolled_is_refused():
    with pytest.raises(UncountedError, match="other loops"):
        launch_work(exponentials(7, 5, 3, block=64), 90)


def test_a_loop_whose_trips_nothing_tells_is_refused():
    with pytest.raises(UncountedError, match="nothing says how often"):
        launch_work(unknown(), 90)


def test_a_loop_may_run_as_its_outer_loop_says():
    launch = growing()
    compiled, _ = build(launch, GPUTarget("cuda", 90, 32), dict(launch.options))
    (outer,) = trips_of(compiled.asm["ttgir"], launch, list(signature_of(launch)[1])).inner
    assert outer.count == 8
    assert outer.inner[0].count == sum(range(8)) / 8


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("programs", [None, 3])
def test_a_branch_counts_for_the_programs_and_turns_that_take_it(architecture, programs):
    """7 tiles of 4,096 numbers, of which the first `few` take powers."""
    few, more = (launch_work(branching(7, few, programs), architecture) for few in (2, 4))
    assert few.exponentials == pytest.approx(2 * 4096 / 32)
    assert more.exponentials == pytest.approx(4 * 4096 / 32)


def test_products_among_which_turns_choose_count_for_those_that_take_one():
    """Where a binary has other branches than its kernel: by their share of the turns, if they are taken alike."""

    def choosing(*shares):
        branches = [Trips(np.asarray(share), branch=True, multiplies=True) for share in shares]
        return folded(Trips(np.ones(()), branches))

    assert choosing(0.25, 0.25, 0.25, 0.25).aside == 0.25
    assert choosing(0.25, 0.75).aside is None


@pytest.mark.parametrize(("architecture", "least"), [(90, 174), (80, 253)])
def test_a_tile_of_window_attention(architecture, least):
    """Windows at the end of a shifted axis take another loop, with masks; what surrounds the loops adds a little.

    Of 33 x 33 x 2 windows 32 x 32 are inside.
    """
    launch = window_launches((1, 6, 264, 264, 96), torch.bfloat16, architecture, False, 6, (3, 8, 8), (0, 4, 4))
    launch = launch["forward"]
    inside, masked = score_instructions(launch, architecture, 64 * 64)
    assert least - 5 <= inside <= least + 5
    work = launch_work(launch, architecture)
    tiles = math.prod(launch.grid) * launch.options["num_warps"] * 3 * 6
    share = (32 / 33) ** 2
    assert 1 < work.instructions / tiles / (share * inside + (1 - share) * masked) < 1.3
    # 16 exponentials of scores and 1 of the rows' shares; a few a row at the end.
    assert 17 <= work.exponentials / tiles < 17.6
