"""The instructions of a launch, against sums by hand and against those of real kernels."""

import math

import pytest
import torch

from spikevrt_kernels.proof.work import UncountedError, launch_work, score_instructions
from spikevrt_kernels.window_attention.spec import window_launches
from tests.toy_kernels import exponentials, growing, row_product

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


def test_a_loop_that_the_assembler_unrolled_is_refused():
    with pytest.raises(UncountedError, match="other loops"):
        launch_work(exponentials(7, 5, 3, block=64), 90)


def test_a_loop_whose_trips_nothing_tells_is_refused():
    with pytest.raises(UncountedError, match="nothing says how often"):
        launch_work(growing(), 90)


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
