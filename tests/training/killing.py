"""Runs in processes of their own, which can be killed, and what they leave."""

import contextlib
import json
import multiprocessing
import os
import socket
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from spikevrt.training.memory_budget import StepMemory
from spikevrt.training.run_folder import SUPERSEDED
from tests.small_data import small_config

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


def trained(
    tree: Path,
    folder: Path,
    told: Connection,
    environment: dict[str, str],
    options: tuple[str, ...],
    memory: StepMemory | None,
) -> None:
    """Body of a process: trains or goes on, and tells when a save is under way."""
    os.environ.update(environment)
    torch.set_num_threads(1)
    from spikevrt.training import memory_budget
    from spikevrt.training.options import RunOptions
    from spikevrt.training.run import train

    save = torch.save

    def telling(*arguments: Any, **more: Any) -> None:
        told.send("saves")
        save(*arguments, **more)

    torch.save = telling
    if memory is not None:
        memory_budget.step_memory = lambda *_, **__: memory
    output = (folder.parent / f"{folder.name}.{environment['RANK']}.txt").open("a")
    with output, contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        code = train(small_config(tree, f"TRAIN.OUTPUT_DIR={folder}", *OPTIONS, *options), RunOptions("auto", "cpu"))
    os._exit(code)


class Run:
    """One start of a training in `world` processes.

    Args:
        tree: the data set.
        folder: of the run, which goes on if it holds one.
        world: number of processes.
        options: of the configuration, beside `OPTIONS`.
        memory: what a step is said to need, which else takes a process long to find out; None where nobody asks.
    """

    def __init__(
        self,
        tree: Path,
        folder: Path,
        world: int = 1,
        options: tuple[str, ...] = (),
        memory: StepMemory | None = None,
    ) -> None:
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
            process = FORKED.Process(target=trained, args=(tree, folder, told, values, options, memory))
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


def what_is_left(folder: Path) -> dict[str, Any]:
    """Everything that a run leaves, without times.

    A kill between best.pt and the save that follows leaves a best.pt of a step that is trained again: it is set aside
    with the log, and nothing else is.
    """
    assert {path.name for path in folder.glob(f"{SUPERSEDED}*/*")} <= {"best.pt", "log.jsonl"}
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    names = sorted(p.name for p in folder.iterdir() if p.name != "tensorboard" and not p.name.startswith(SUPERSEDED))
    states = {name: torch.load(folder / name, weights_only=True) for name in names if name.endswith(".pt")}
    for state in states.values():
        for key in ("OUTPUT_DIR", "MEMORY_BUDGET_GB"):
            state["config"]["TRAIN"].pop(key)
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
