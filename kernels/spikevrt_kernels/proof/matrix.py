"""Every kernel on every architecture: compiled one after the other, each result kept as soon as it is there.

A run that is stopped goes on where it was. A result belongs to one version of Triton, of the kernel's source and of
everything that the launcher would specialise on.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import torch
import triton

from spikevrt_kernels.keys import signature_of
from spikevrt_kernels.launches import Launch
from spikevrt_kernels.plans import Plan
from spikevrt_kernels.proof.compiler import Resources, compile_launch
from spikevrt_kernels.proof.compiler_amd import GFX942, compile_for_amd

ARCHITECTURES = (90, 80, 120, 100, 89, 86)
"""Those of the gates first, as far as a run comes."""
FRAMES = (5, 7)
DTYPES = (torch.bfloat16, torch.float16)


class Cell(NamedTuple):
    """One kernel in one variant."""

    operator: str
    kernel: str
    """By the name of its plan."""
    architecture: int
    frames: int
    dtype: torch.dtype
    launch: Launch


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
    """Cells of one key have one binary."""
    launch, signature = cell.launch, tuple(signature_of(cell.launch))
    parts = (triton.__version__, cell.architecture, launch.kernel.cache_key, signature, launch.options)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def compile_cell(cell: Cell) -> Resources:
    """Compile afresh, to take the time."""
    if cell.architecture == GFX942:
        return compile_for_amd(cell.launch, fresh=True)
    return compile_launch(cell.launch, cell.architecture, fresh=True)


class Results:
    """A file of results by key: a JSON object a line, appended to as they come."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: dict[str, Resources] = {}
        if path.exists():
            for line in path.read_text().splitlines():
                self.read(line)

    def read(self, line: str) -> None:
        """Take one line; the last one may have been cut off."""
        try:
            entry = json.loads(line)
            self.found[entry["key"]] = Resources(**entry["resources"])
        except (ValueError, KeyError, TypeError):
            return

    def get(self, cell: Cell) -> Resources | None:
        """The result of a cell, or None where it is not there yet."""
        return self.found.get(key_of(cell))

    def make(self, cell: Cell, compiler: Callable[[Cell], Resources] = compile_cell) -> Resources:
        """The result of a cell, compiled and kept where it is not there yet."""
        key = key_of(cell)
        if key not in self.found:
            self.found[key] = compiler(cell)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a") as file:
                # A line that was cut off before must not swallow this one.
                file.write(
                    "\n" * self.cut_off() + json.dumps({"key": key, "resources": asdict(self.found[key])}) + "\n"
                )
        return self.found[key]

    def cut_off(self) -> bool:
        """Whether the file ends inside a line."""
        text = self.path.read_bytes() if self.path.exists() else b""
        return bool(text) and not text.endswith(b"\n")
