"""Runs under plans of their memory are those without: losses, weights and logs, bit for bit."""

import os
import signal
import time

import pytest

from spikevrt.training.memory_budget import GB, step_memory
from spikevrt_kernels.core.names import Backends
from tests.small_data import small_config
from tests.training.killing import Run, differing, what_is_left

pytestmark = pytest.mark.runs

STEPS = int(os.environ.get("SPIKEVRT_PLAN_STEPS", "6"))
BACKEND = "sdpa"
LENGTH = (f"TRAIN.MAX_STEPS={STEPS}", "TRAIN.VAL_EVERY=100", f"MODEL.ATTN_BACKEND={BACKEND}")
SHARES = (0.0, 0.5)
"""Budgets between the least memory, where most is computed again, and the most."""


@pytest.fixture(scope="module")
def memory(tree):
    return step_memory(small_config(tree), Backends.of(BACKEND), None, for_cuda=False)


@pytest.fixture(scope="module")
def plans(memory):
    """An option for each share."""
    least, most = memory.peak(memory.least()), memory.peak(memory.most())
    budgets = [least + share * (most - least) for share in SHARES]
    assert all(memory.within(int(budget)).again > 0 for budget in budgets)
    return [f"TRAIN.MEMORY_BUDGET_GB={budget / GB + 0.0001:.4f}" for budget in budgets]


def left(tree, folder, memory, *options, world=1):
    """What a run leaves that nobody disturbs."""
    run = Run(tree, folder, world, (*LENGTH, *options), memory)
    run.wait_for(10**9, 3600)
    said = (folder.parent / f"{folder.name}.0.txt").read_text
    assert run.join(60) == [0] * world, said()
    assert ("computed again" in said()) == bool(options)
    return what_is_left(folder)


@pytest.fixture(scope="module")
def unplanned(tree, tmp_path_factory, memory):
    """What a run leaves that keeps everything."""
    folder = tmp_path_factory.mktemp("unplanned") / "run"
    return left(tree, folder, memory)


@pytest.mark.parametrize("number", range(len(SHARES)))
def test_a_run_under_a_plan_is_that_without(tree, tmp_path, memory, plans, unplanned, number):
    planned = left(tree, tmp_path / "run", memory, plans[number])
    assert len([row for row in planned["log"] if row["kind"] == "train"]) == STEPS
    assert differing(unplanned, planned) == []


def test_a_run_that_is_killed_goes_on_under_another_plan(tree, tmp_path, memory, plans, unplanned):
    folder = tmp_path / "run"
    for plan in plans:
        run = Run(tree, folder, 1, (*LENGTH, plan), memory)
        run.wait_for(max(1, STEPS // 6), 3600)
        time.sleep(0.1)  # It is saving, or in the steps after.
        assert run.kill()
        assert run.join(60) == [-signal.SIGKILL]
    assert differing(unplanned, left(tree, folder, memory, plans[0])) == []


def test_two_processes_under_a_plan_are_two_without(tree, tmp_path, memory, plans):
    plain = left(tree, tmp_path / "plain", memory, world=2)
    assert differing(plain, left(tree, tmp_path / "planned", memory, plans[0], world=2)) == []
