"""DRAM bytes of every kernel by Nsight Compute, beside what our operators declare."""

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from bench.gpu.cases import timed_cases
from bench.gpu.ncu import Moved, moved_by_kernel, ncu_command
from bench.gpu.part import command
from bench.gpu.rows import ReportRow, read_row, row_of
from bench.gpu.setting import Setting
from bench.gpu.times import runs
from bench.gpu.tools import NCU, tool
from bench.workloads.workload import DIRECTIONS
from spikevrt_kernels.core.case import Case
from spikevrt_kernels.proof.operator_counter import count_operators
from spikevrt_kernels.registry import DECLARED

LIMIT = 60
"""Seconds of one case: Nsight Compute runs a kernel more than once."""
BACKWARD_OPERATOR = "_backward"


def kernels(setting: Setting) -> Iterator[ReportRow]:
    """The largest shape of each kind, a row a kernel and a row a direction."""
    ncu = tool(NCU)
    if ncu is None:
        yield ReportRow("note", "Nsight Compute (ncu) is not on this machine: DRAM bytes are not measured")
        return
    for index in largest_of_kinds(timed_cases(setting)):
        yield from profiled(setting, ncu, index)


def largest_of_kinds(cases: list[Case]) -> list[int]:
    """Places of the first case of each kind (self, cross or mutual of an operator)."""
    first: dict[tuple[str, str], int] = {}
    for i, case in enumerate(cases):
        first.setdefault((case.op, case.shape.split()[0]), i)
    return list(first.values())


def profiled(setting: Setting, ncu: str, index: int) -> Iterator[ReportRow]:
    """One case under Nsight Compute."""
    case = timed_cases(setting)[index]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "ncu.csv"
        child = ncu_command(ncu, str(log), command(setting.dry, "bench.gpu.traffic.once", str(index)))
        try:
            said = subprocess.run(child, capture_output=True, text=True, timeout=LIMIT).stdout
            moved = moved_by_kernel(log.read_text() if log.exists() else said)
        except (subprocess.TimeoutExpired, ValueError, OSError) as error:
            yield ReportRow("note", f"ncu, {case.op} {case.shape}: {error}", bad=True)
            return
    for one in moved:
        yield moved_row(case, one, None)
    for direction, declared in declared_of(said).items():
        yield moved_row(case, total(moved, direction), declared)


def declared_of(said: str) -> dict[str, int]:
    """What the child said that its operators declare, by direction."""
    rows = [row for row in map(read_row, said.splitlines()) if row is not None and row.kind == "declared"]
    return {row.figures["direction"]: row.figures["bytes"] for row in rows}


def total(moved: list[Moved], direction: str) -> Moved:
    """All kernels of a direction together."""
    own = [one for one in moved if one.backward == (direction != DIRECTIONS[0])]
    name = "all of the forward" if direction == DIRECTIONS[0] else "all of the backward"
    return Moved(name, sum(m.launches for m in own), sum(m.read for m in own), sum(m.written for m in own))


def moved_row(case: Case, moved: Moved, declared: int | None) -> ReportRow:
    """Bytes of one kernel, or of all of a direction."""
    text = f"{case.op} {case.shape}, {moved.kernel}: {(moved.read + moved.written) / 1e6:.1f} MB"
    text += "" if declared is None else f", declared {declared / 1e6:.1f} MB"
    figures: dict[str, Any] = {"op": case.op, "shape": case.shape, "kernel": moved.kernel, "launches": moved.launches}
    figures |= {"read": moved.read, "written": moved.written, "declared": declared}
    return ReportRow("dram", text, figures=figures)


def once(setting: Setting, index: str) -> Iterator[ReportRow]:
    """The child: one case forward and backward after a run that compiles, and what its operators declare."""
    case = timed_cases(setting)[int(index)]
    *_, (_, run) = runs(setting, case, "triton")
    run()
    with count_operators(DECLARED) as traffic:
        run()
    for name, size in traffic.by_operator.items():
        if name in DECLARED:
            yield row_of("declared", direction=DIRECTIONS[name.endswith(BACKWARD_OPERATOR)], bytes=size)
    setting.synchronise()
    if not setting.dry:
        torch.cuda.profiler.start()
    run()
    setting.synchronise()
    if not setting.dry:
        torch.cuda.profiler.stop()
