"""The instructions of a launch, against sums by hand and against those of real kernels."""

import math

import pytest
import torch

from spikevrt_kernels.proof.work import UncountedError, launch_work
from spikevrt_kernels.registry import PLANS
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


@pytest.mark.parametrize(("architecture", "least", "most"), [(90, 499, 560), (80, 585, 640)])
def test_a_tile_of_window_attention(architecture, least, most):
    """64 queries by 32 keys of a shifted window: 499 instructions on sm_90 and 585 on sm_80 were read by hand.

    Per tile of 320 tokens' 5 x 10, so that what surrounds the inner loop adds a little.
    """
    launch = PLANS["window attention"](5, torch.bfloat16, architecture)["forward"]
    work = launch_work(launch, architecture)
    tiles = math.prod(launch.grid) * launch.options["num_warps"] * 5 * 10
    assert least < work.instructions / tiles < most
    # 16 exponentials of scores and 2 of the rows' shares.
    assert 18 <= work.exponentials / tiles < 18.5
