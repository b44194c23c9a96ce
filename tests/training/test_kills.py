"""Runs that are killed at random moments end as the run that nobody disturbed: weights, mean, best, log, files."""

import contextlib
import json
import multiprocessing
import os
import random
import signal
import socket
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.small_data import small_config

pytestmark = pytest.mark.runs

KILLS = int(os.environ.get("SPIKEVRT_KILLS", "6"))
RANK_KILLS = int(os.environ.get("SPIKEVRT_RANK_KILLS", "1"))
SECONDS_TO_NOTICE = 10
"""A process must end within this time after another one of its group was killed."""
OPTIONS = (
    "TRAIN.MAX_STEPS=10",
    "TRAIN.SAVE_EVERY=2",
    "TRAIN.VAL_EVERY=3",
    "TRAIN.KEEP_LAST=2",
    "TRAIN.LOG_EVERY=1",
    "TRAIN.WARMUP_STEPS=3",
    "TRAIN.NUM_WORKERS=0",
    "MODEL.VRT.DROP_PATH=0.2",
)
TIMES = {"seconds", "wait_share", "memory_gib"}
"""Columns of the log that differ from run to run."""
FORKED = multiprocessing.get_context("forkserver")
"""Processes that start in no time, because a server has imported everything already."""
FORKED.set_forkserver_preload(["spikevrt.training.run", "tests.small_data"])


def trained(tree: Path, folder: Path, told: Connection, environment: dict[str, str]) -> None:
    """Body of a process: trains or goes on, and tells when a save is under way."""
    os.environ.update(environment)
    torch.set_num_threads(1)
    from spikevrt.training.options import RunOptions
    from spikevrt.training.run import train

    save = torch.save

    def telling(*arguments: Any, **more: Any) -> None:
        told.send("saves")
        save(*arguments, **more)

    torch.save = telling
    output = (folder.parent / f"{folder.name}.{environment['RANK']}.txt").open("a")
    with output, contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        code = train(small_config(tree, f"TRAIN.OUTPUT_DIR={folder}", *OPTIONS), RunOptions("auto", "cpu"))
    os._exit(code)


class Run:
    """One start of a training in `world` processes."""

    def __init__(self, tree: Path, folder: Path, world: int = 1) -> None:
        self.ears: list[Connection] = []
        self.processes = []
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        for rank in range(world):
            ear, told = FORKED.Pipe(duplex=False)
            group = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world}
            environment = group | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            values = {key: str(value) for key, value in environment.items()}
            process = FORKED.Process(target=trained, args=(tree, folder, told, values))
            process.start()
            self.ears.append(ear)
            self.processes.append(process)

    def wait_for(self, saves: int, seconds: float) -> None:
        """Wait for a number of saves, or for some time; at the most until the run ends."""
        end = time.monotonic() + seconds
        while self.processes[0].is_alive() and time.monotonic() < end and saves > 0:
            if self.ears[0].poll(0.001):
                with contextlib.suppress(EOFError):
                    self.ears[0].recv()
                saves -= 1

    def kill(self, rank: int = 0) -> bool:
        """Kill one process; False if it had ended."""
        alive = self.processes[rank].is_alive()
        self.processes[rank].kill()
        return alive

    def join(self, seconds: float) -> list[int | None]:
        """The exit codes; those that do not end in time are killed and have None."""
        end = time.monotonic() + seconds
        for process in self.processes:
            process.join(max(0.0, end - time.monotonic()))
        codes = [process.exitcode for process in self.processes]
        for process in self.processes:
            process.kill()
            process.join()
        return codes


def moment(number: int, random: random.Random) -> tuple[int, float]:
    """When to kill: every second time within a save (which one, and so much later), else after some seconds."""
    return (random.randint(1, 6), 300.0) if number % 2 else (10**9, random.uniform(0.2, 4.0))


def what_is_left(folder: Path) -> dict[str, Any]:
    """Everything that a run leaves, without times."""
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    names = sorted(p.name for p in folder.iterdir() if p.name != "tensorboard")
    states = {name: torch.load(folder / name, weights_only=True) for name in names if name.endswith(".pt")}
    for state in states.values():
        state["config"]["TRAIN"].pop("OUTPUT_DIR")
    rows = [{key: value for key, value in row.items() if key not in TIMES} for row in log]
    return {"names": names, "log": rows, **states}


def same(a: Any, b: Any) -> bool:
    """Whether two values are equal bit for bit."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return torch.equal(a, b) if torch.is_tensor(a) else a == b


def differing(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """The names under which two runs left different things."""
    return sorted(key for key in a.keys() | b.keys() if not same(a.get(key), b.get(key)))


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
