"""Bytes that operators move and save: the Triton kernels and the other entries.

Kernels along time are counted by Triton's interpreter, other entries by the operator counter, which sees PyTorch's
operators. What is in and around windows is counted at full size on tensors without storage; kernels by the bytes they
declare.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch

from bench.results.measure import saved_bytes
from bench.without_gpu.counts import count_in_interpreter
from bench.without_gpu.declared import DTYPE, Declared, declared_along_time, declared_around, declared_in_windows
from bench.workloads.around import AROUND_KINDS, around_workload
from bench.workloads.temporal import CHANNELS, FRAMES, OPERATORS, entries, temporal_workload
from bench.workloads.windows import FULL_SIZE, WINDOW_KINDS, window_workload
from bench.workloads.workload import BACKENDS, DIRECTIONS, Workload
from spikevrt_kernels.proof.compile_all import ARCHITECTURES, Cell
from spikevrt_kernels.proof.memory import without_storage
from spikevrt_kernels.proof.operator_counter import OperatorTraffic, count_operators
from spikevrt_kernels.registry import DECLARED

COUNTED_SHAPE = (1, CHANNELS, FRAMES, 64, 128)
"""(B,C,T,H,W) of two default chunks."""
BOUND_SHAPE = (2, CHANNELS, FRAMES, 256, 256)
"""(B,C,T,H,W) of the default configuration's first scale: 32 chunks."""
WINDOWS = {
    "window attention, self": WINDOW_KINDS["official-self"],
    "window attention, mutual": WINDOW_KINDS["official-mutual"],
}
"""Shifted blocks of stage 1 in the official configuration."""


class Traffic(NamedTuple):
    """Traffic of an entry of an operator, in units of one feature tensor."""

    operator: str
    entry: str
    counter: str
    forward: float
    both: float
    saved: float
    forward_launches: int
    both_launches: int
    unit: int
    """Bytes of one feature tensor."""


def counted_operators(work: Workload, name: str, entry: str) -> Traffic:
    """Count an entry by its operators; custom operators by the bytes that they declare."""
    forward, both = (operators_of(work, entry, direction) for direction in DIRECTIONS)
    return Traffic(
        operator=name,
        entry=entry,
        counter="declared" if entry == "triton" else "operators",
        forward=forward.bytes / work.unit,
        both=both.bytes / work.unit,
        saved=saved_bytes(work, entry) / work.unit,
        forward_launches=forward.launches,
        both_launches=both.launches,
        unit=work.unit,
    )


def operators_of(work: Workload, entry: str, direction: str) -> OperatorTraffic:
    """Count the operators of one direction."""
    step = work.traced(entry, direction)
    with count_operators(DECLARED) as traffic:
        step()
    return traffic


def counted_kernels(operator: str, unit: int) -> Traffic:
    """The interpreter's count of an operator along time."""
    counts = count_in_interpreter()[operator]
    forward, both = (counts.moved(direction) for direction in DIRECTIONS)
    launches = counts.forward_launches, counts.forward_launches + counts.backward_launches
    return Traffic(operator, "triton", "interpreter", forward, both, counts.saved, *launches, unit)


def traffic_along_time() -> Iterator[Traffic]:
    """Traffic of every entry of every operator along time."""
    for operator in OPERATORS:
        work = temporal_workload(operator, COUNTED_SHAPE, torch.float32, "cpu")
        yield from (counted_operators(work, operator, entry) for entry in entries(operator) if entry != "triton")
        yield counted_kernels(operator, work.unit)


def traffic_in_windows(size: int = FULL_SIZE) -> Iterator[Traffic]:
    """Traffic of every entry of window attention on 6 x size x size in bfloat16, as it runs on CUDA."""
    for name, group in WINDOWS.items():
        yield from traffic_on_cuda(name, window_workload(group, size, DTYPE, "cpu"))


def traffic_around(size: int = FULL_SIZE) -> Iterator[Traffic]:
    """The same of the operators around the windows, on 5 x size x size."""
    for kind in AROUND_KINDS.values():
        yield from traffic_on_cuda(kind.name, around_workload(kind, size, DTYPE, "cpu"))


def traffic_on_cuda(name: str, workload: Workload) -> list[Traffic]:
    """Traffic of every entry of a workload as it runs on CUDA, without running it."""
    make = workload.planned()
    with without_storage(for_cuda=True):
        work = make()
        return [counted_operators(work, name, entry) for entry in BACKENDS]


def bound_cells() -> Iterator[Cell]:
    """All launches that the bounds are predicted from, on every architecture."""
    for architecture in ARCHITECTURES:
        for operator, declared in declared_at_bounds(DIRECTIONS[1]).items():
            frames = WINDOWS[operator].frames if operator in WINDOWS else FRAMES
            for kernel, launch in declared.launches(architecture).items():
                yield Cell(operator, kernel, architecture, frames, DTYPE, launch, counted=True)


def declared_at_bounds(direction: str) -> dict[str, Declared]:
    """Declarations by operator, at the sizes of the predicted bounds."""
    along_time = {operator: declared_along_time(operator, BOUND_SHAPE, direction) for operator in OPERATORS}
    windows = {name: declared_in_windows(group, FULL_SIZE, direction) for name, group in WINDOWS.items()}
    around = {kind.name: declared_around(kind, FULL_SIZE, direction) for kind in AROUND_KINDS.values()}
    return along_time | windows | around
