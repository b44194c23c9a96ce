"""Compiles every kernel for every architecture, and keeps each result at once.

A run that is stopped goes on where it was. A result belongs to one version of Triton, of the kernel's source and of
everything that the launcher would specialise on.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import torch
import triton

from spikevrt_kernels.core.keys import signature_of
from spikevrt_kernels.core.launch import Launch
from spikevrt_kernels.core.operator import Plan
from spikevrt_kernels.proof.compiler import GFX942, Assembled, Resources, compile_for_amd, compile_launch
from spikevrt_kernels.proof.roofline import Work
from spikevrt_kernels.proof.work import UncountedError, launch_work

ARCHITECTURES = (90, 80, 120, 100, 89, 86)
"""Architectures, the most important first, because a run may be interrupted."""
FRAMES = (5, 7)
DTYPES = (torch.bfloat16, torch.float16)


class Cell(NamedTuple):
    """A kernel in one variant: one compilation."""

    operator: str
    kernel: str
    """Operator by the name of its plan."""
    architecture: int
    frames: int
    dtype: torch.dtype
    launch: Launch
    counted: bool = False
    """Whether to count the instructions that the launch executes too."""


def cells(plans: Mapping[str, Plan], architectures: Sequence[int] = (*ARCHITECTURES, GFX942)) -> Iterator[Cell]:
    """All variants: T = 5 in bfloat16 on all architectures first, AMD's last."""
    last = [a for a in architectures if a == GFX942]
    groups = [[a for a in architectures if a != GFX942], last]
    for group in groups:
        for dtype in DTYPES:
            for frames in FRAMES:
                for architecture in group:
                    for operator, plan in plans.items():
                        # Nothing is tuned for AMD: it takes what sm_80 takes.
                        chosen = plan(frames, dtype, 80 if architecture == GFX942 else architecture)
                        for kernel, launch in chosen.items():
                            yield Cell(operator, kernel, architecture, frames, dtype, launch)


def key_of(cell: Cell) -> str:
    """Key of a cell's binary; cells with the same key share it."""
    launch, signature = cell.launch, tuple(signature_of(cell.launch))
    parts = (triton.__version__, cell.architecture, launch.kernel.cache_key, signature, launch.options)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def work_key(cell: Cell) -> str:
    """Key of a cell's executed instructions; includes the numbers that decide how often loops run."""
    numbers = {name: value for name, value in cell.launch.arguments.items() if isinstance(value, int | float)}
    return hashlib.sha256(repr((key_of(cell), cell.launch.grid, numbers)).encode()).hexdigest()


def keys_of(cell: Cell) -> tuple[str, ...]:
    """Keys under which a cell's result is found; the first one decides whether it is missing."""
    return (work_key(cell), key_of(cell)) if cell.counted else (key_of(cell),)


class Result(NamedTuple):
    """Result of a cell."""

    resources: Resources
    work: Work | None
    """Instructions that the launch executes; None if not asked for, or if they cannot be counted."""


def compile_cell(cell: Cell) -> Result:
    """Compile, unless Triton's cache has the binary."""
    if cell.architecture == GFX942:
        return Result(compile_for_amd(cell.launch), None)
    resources = compile_launch(cell.launch, cell.architecture)
    try:
        return Result(resources, launch_work(cell.launch, cell.architecture) if cell.counted else None)
    except UncountedError:
        return Result(resources, None)


@cache
def every_cell(source: Callable[[], tuple[Cell, ...]]) -> tuple[Cell, ...]:
    """All cells, made once in each process."""
    return source()


def compile_nth(source: Callable[[], tuple[Cell, ...]], place: int) -> Result:
    """Compile a cell given by its index, because the kernel of a launch cannot be sent to another process."""
    return compile_cell(every_cell(source)[place])


def compile_side_by_side(
    source: Callable[[], tuple[Cell, ...]], places: Iterable[int], processes: int
) -> Iterator[tuple[Cell, Result]]:
    """Yield cells with their results, in the order in which they finish.

    Args:
        source: a function of a module, which makes the same cells in every process.
        places: which of them.
        processes: with one, this process compiles.
    """
    if processes <= 1:
        yield from ((every_cell(source)[place], compile_nth(source, place)) for place in places)
        return
    pool = ProcessPoolExecutor(processes, get_context("spawn"))
    try:
        running = {pool.submit(compile_nth, source, place): place for place in places}
        yield from ((every_cell(source)[running[one]], one.result()) for one in as_completed(running))
    finally:
        pool.shutdown(cancel_futures=True)


class Results:
    """A file of results by key, with one JSON object per line; results are appended."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: dict[str, Result] = {}
        if path.exists():
            for line in path.read_text().splitlines():
                self.read(line)

    def read(self, line: str) -> None:
        """Read one line; the last line may be incomplete."""
        try:
            entry = json.loads(line)
            assembled = tuple(Assembled(*one) for one in entry["resources"].pop("assembled"))
            resources = Resources(**entry["resources"], assembled=assembled)
            result = Result(resources, entry["work"] and Work(*entry["work"]))
            self.found |= dict.fromkeys(entry["keys"], result)
        except (ValueError, KeyError, TypeError):
            return

    def get(self, cell: Cell) -> Result | None:
        """The result of a cell, or None if it is missing."""
        return self.found.get(keys_of(cell)[0])

    def missing(self, every: Iterable[Cell]) -> list[int]:
        """Indices of cells without a result, one for each key; put counted cells first."""
        places, known = [], set(self.found)
        for place, cell in enumerate(every):
            keys = keys_of(cell)
            if keys[0] not in known:
                places.append(place)
                known.update(keys)
        return places

    def keep(self, cell: Cell, result: Result) -> None:
        """Append a result to the file."""
        keys = keys_of(cell)
        self.found |= dict.fromkeys(keys, result)
        entry = {"keys": keys, "resources": asdict(result.resources), "work": result.work}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            # A line that was cut off before must not swallow this one.
            file.write("\n" * self.cut_off() + json.dumps(entry) + "\n")

    def cut_off(self) -> bool:
        """Whether the last line of the file is incomplete."""
        text = self.path.read_bytes() if self.path.exists() else b""
        return bool(text) and not text.endswith(b"\n")
