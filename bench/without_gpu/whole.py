"""Predicted bounds of a whole forward and a whole training step: the sum over their operator calls."""

import hashlib
import json
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import triton

from spikevrt.config import Config
from spikevrt.models.traffic import forward_traffic
from spikevrt.system.device import planned_half_type
from spikevrt.training.step_cost import step_traffic
from spikevrt_kernels.core.launch import Launch
from spikevrt_kernels.proof.calls import Call, Calls, LaunchKey
from spikevrt_kernels.proof.roofline import NOTHING, Bound, Gpu, Work, predict, total_work
from spikevrt_kernels.proof.work import UncountedError, launch_work

RUNS = {"forward": forward_traffic, "step": step_traffic}
"""What is predicted: the forward of one clip, and a training step of TRAIN.BATCH_SIZE clips."""
Works = Mapping[LaunchKey, Work | None]
"""Executed instructions by launch; None where they cannot be counted."""


def recorded(config: Config, run: str, architecture: int) -> Calls:
    """The operator calls of a run with `triton`, as a GPU of an architecture would do them (90 for sm_90).

    Raises:
        BackendError: the kernels cannot run the model.
    """
    calls = Calls(architecture)
    RUNS[run](config, "triton", planned_half_type(config.train.mixed_precision), calls.count)
    return calls


class Whole(NamedTuple):
    """The predicted seconds of a run: each limit on its own, over all calls, and all of them together."""

    memory: float
    tensor: float
    exponentials: float
    float32: float
    issue: float
    gaps: float
    """3 us between launches."""
    host: float
    """Launching from Python, while earlier kernels run."""
    seconds: float
    """The sum over the calls of their largest limit, and of the gaps."""


def whole_bound(gpu: Gpu, times: Mapping[Call, int], works: Works) -> Whole:
    """The bound of all calls, one after another."""
    total = Whole(*[0.0] * len(Whole._fields))
    for call, count in times.items():
        bound = call_bound(gpu, call, works)
        limits = bound.memory, bound.tensor, bound.exponentials, bound.float32, bound.issue
        own = Whole(*limits, bound.gaps, bound.host, max(limits) + bound.gaps)
        total = Whole(*(before + count * more for before, more in zip(total, own, strict=True)))
    return total


def call_bound(gpu: Gpu, call: Call, works: Works) -> Bound:
    """The bound of one call; kernels that are not counted execute nothing."""
    work = total_work([NOTHING, *(works.get(kernel) or NOTHING for kernel in call.kernels)])
    return predict(gpu, call.bytes, call.flops, call.launches, work)


class Counted:
    """A file of executed instructions, with one JSON object per line; an interrupted run continues from it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: dict[str, Work | None] = {}
        lines = path.read_text().splitlines() if path.exists() else []
        for line in lines:
            try:
                key, work = json.loads(line)
            except ValueError:
                continue  # A line that was cut off.
            self.found[key] = work and Work(*work)

    def keep(self, keys: Sequence[str], works: Sequence[Work | None]) -> None:
        """Append what was counted."""
        self.found |= dict(zip(keys, works, strict=True))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.writelines("\n" + json.dumps(pair) for pair in zip(keys, works, strict=True))


def file_key(launch: Launch, key: LaunchKey, architecture: int) -> str:
    """A launch's key in the file, which holds for one version of Triton and of the kernel's source."""
    parts = triton.__version__, architecture, launch.kernel.cache_key, key
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def counted(calls: Calls, file: Counted) -> Works:
    """What the file knows of the launches of some calls."""
    keys = {key: file_key(launch, key, calls.architecture) for key, launch in calls.launches.items()}
    return {key: file.found[name] for key, name in keys.items() if name in file.found}


class Task(NamedTuple):
    """Launches of one binary that are not counted yet, in a form that can be sent to another process."""

    keys: tuple[str, ...]
    packed: bytes
    kernel: str
    architecture: int


def tasks(every: Iterable[Calls], file: Counted) -> list[Task]:
    """What is left to count."""
    found: dict[tuple[object, int], dict[str, Launch]] = {}
    for calls in every:
        for key, launch in calls.launches.items():
            name = file_key(launch, key, calls.architecture)
            if name not in file.found:
                found.setdefault((key.binary, calls.architecture), {})[name] = launch
    return [task_of(launches, architecture) for (_, architecture), launches in found.items()]


def task_of(launches: Mapping[str, Launch], architecture: int) -> Task:
    """The task of some launches of one binary."""
    kernel = next(iter(launches.values())).kernel
    plain = [(launch.grid, launch.arguments, launch.options) for launch in launches.values()]
    packed = pickle.dumps((kernel.__module__, kernel.__name__, plain))
    return Task(tuple(launches), packed, kernel.__name__, architecture)


def count_packed(packed: bytes, architecture: int) -> list[Work | None]:
    """The instructions of a task's launches; compiles their kernel, if it is not in Triton's cache."""
    module, name, plain = pickle.loads(packed)
    kernel = getattr(import_module(module), name)
    return [work_or_none(Launch(kernel, *rest), architecture) for rest in plain]


def work_or_none(launch: Launch, architecture: int) -> Work | None:
    """What a launch executes, or None if nothing says how often its loops run."""
    try:
        return launch_work(launch, architecture)
    except UncountedError:
        return None


def count_side_by_side(
    left: Sequence[Task], file: Counted, processes: int, done: Callable[[Task], object] = lambda task: None
) -> None:
    """Count what is left, and keep each result at once."""
    for task, works in results(left, processes):
        file.keep(task.keys, works)
        done(task)


def results(left: Sequence[Task], processes: int) -> Iterator[tuple[Task, list[Work | None]]]:
    """Tasks with their results, as they end."""
    if processes <= 1:
        yield from ((task, count_packed(task.packed, task.architecture)) for task in left)
        return
    pool = ProcessPoolExecutor(processes, get_context("spawn"))
    try:
        running = {pool.submit(count_packed, task.packed, task.architecture): task for task in left}
        yield from ((running[one], one.result()) for one in as_completed(running))
    finally:
        pool.shutdown(cancel_futures=True)
