"""Runs that are killed at random moments end as the run that nobody disturbed: weights, mean, best, log, files."""

import os
import random
import signal
import time
from typing import Any

import pytest

from tests.training.killing import Run, differing, what_is_left

pytestmark = pytest.mark.runs

KILLS = int(os.environ.get("SPIKEVRT_KILLS", "6"))
RANK_KILLS = int(os.environ.get("SPIKEVRT_RANK_KILLS", "1"))
SECONDS_TO_NOTICE = 10
"""A process must end within this time after another one of its group was killed."""


def moment(number: int, random: random.Random) -> tuple[int, float]:
    """When to kill: every second time within a save (which one, and so much later), else after some seconds."""
    return (random.randint(1, 6), 300.0) if number % 2 else (10**9, random.uniform(0.2, 4.0))


@pytest.fixture(scope="module")
def undisturbed(tree, tmp_path_factory):
    """What a run leaves that nobody disturbs, by number of processes."""
    made: dict[int, dict[str, Any]] = {}

    def left(world: int) -> dict[str, Any]:
        if world not in made:
            folder = tmp_path_factory.mktemp("undisturbed") / "run"
            run = Run(tree, folder, world)
            run.wait_for(10**9, 300)
            assert run.join(60) == [0] * world, (folder.parent / "run.0.txt").read_text()
            made[world] = what_is_left(folder)
        return made[world]

    return left


def test_a_killed_run_ends_as_if_nothing_had_happened(tree, tmp_path, undisturbed):
    draws, folder, kills = random.Random(0), tmp_path / "run", 0
    while kills < KILLS:
        run = Run(tree, folder)
        saves, seconds = moment(kills, draws)
        run.wait_for(saves, seconds)
        time.sleep(draws.uniform(0, 0.02))
        kills += run.kill()
        (code,) = run.join(60)
        assert code in (-signal.SIGKILL, 0), (tmp_path / f"{folder.name}.0.txt").read_text()
        if code == 0:
            folder = folder.with_name(f"run{kills}")  # It was done; the next kills hit another one.
    run = Run(tree, folder)
    run.wait_for(10**9, 300)
    assert run.join(60) == [0], (tmp_path / f"{folder.name}.0.txt").read_text()
    assert differing(undisturbed(1), what_is_left(folder)) == []


def test_a_run_of_two_processes_survives_the_death_of_either(tree, tmp_path, undisturbed):
    draws, folder, kills = random.Random(1), tmp_path / "run", 0
    while kills < RANK_KILLS:
        run = Run(tree, folder, 2)
        saves, seconds = moment(kills, draws)
        run.wait_for(saves, seconds + 2)
        rank = kills % 2
        if not run.kill(rank):
            folder = folder.with_name(f"run{kills}")
            continue
        kills += 1
        codes = run.join(SECONDS_TO_NOTICE)
        output = (tmp_path / f"{folder.name}.{1 - rank}.txt").read_text()
        assert codes[1 - rank] is not None, f"the other process did not notice: {output}"
        assert "Traceback" not in output
    run = Run(tree, folder, 2)
    run.wait_for(10**9, 300)
    assert run.join(60) == [0, 0], (tmp_path / f"{folder.name}.0.txt").read_text()
    assert differing(undisturbed(2), what_is_left(folder)) == []
