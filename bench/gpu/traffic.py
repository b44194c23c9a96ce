"""DRAM bytes of every kernel, measured by Nsight Compute, beside the bytes that our operators declare."""

import csv
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench.gpu.part import Finding, command, finding_of, read_finding
from bench.gpu.setting import NCU, Setting, timed_cases, tool
from bench.gpu.times import runs
from bench.workloads.workload import DIRECTIONS
from spikevrt_kernels.core.case import Case
from spikevrt_kernels.proof.operator_counter import count_operators
from spikevrt_kernels.registry import DECLARED, KERNEL_PREFIXES

READ_METRIC, WRITTEN_METRIC = "dram__bytes_read.sum", "dram__bytes_write.sum"
BYTES_OF_UNIT = {"byte": 1, "Kbyte": 1e3, "Mbyte": 1e6, "Gbyte": 1e9, "Tbyte": 1e12}
OUR_KERNELS = f"regex:^({'|'.join(KERNEL_PREFIXES)})"
CASE_SECONDS = 60
"""Time limit of a case in seconds; Nsight Compute runs each kernel several times."""
BACKWARD_OPERATOR = "_backward"
BACKWARD_KERNEL = "_bwd"
"""Part of the names of backward kernels."""
FIRST_COLUMN = '"ID"'
ERROR = "==ERROR=="


@dataclass
class Moved:
    """DRAM bytes of all launches of one kernel, counted by the GPU.

    Data that a kernel leaves in the L2 cache is written later and not counted: with tensors smaller than the cache
    (50 MB on an H100) the written bytes are too few.
    """

    kernel: str
    launches: int = 0
    read: float = 0.0
    written: float = 0.0

    @property
    def backward(self) -> bool:
        """Whether it is a kernel of the backward pass."""
        return BACKWARD_KERNEL in self.kernel


def ncu_command(ncu: str, log: str, child: Sequence[str]) -> list[str]:
    """The command that profiles our kernels in a child process between its profiler calls, and writes CSV to `log`."""
    metrics = ("--metrics", f"{READ_METRIC},{WRITTEN_METRIC}", "--kernel-name", OUR_KERNELS)
    form = ("--csv", "--print-units", "base", "--log-file", log)
    return [ncu, "--target-processes", "all", "--profile-from-start", "off", *metrics, *form, *child]


def moved_by_kernel(text: str) -> list[Moved]:
    """Read the output of `ncu --csv`: bytes by kernel, in the order of first launches.

    Lines before the header are messages of ncu. Values may have thousands separators and units larger than bytes.

    Raises:
        ValueError: there is no table; the message is ncu's error if it printed one.
    """
    lines = text.splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith(FIRST_COLUMN)), None)
    if start is None:
        errors = [line.removeprefix(ERROR).strip() for line in lines if line.startswith(ERROR)]
        raise ValueError(errors[0] if errors else "ncu printed no table")
    found: dict[str, Moved] = {}
    for line in csv.DictReader(line for line in lines[start:] if line.startswith('"')):
        if line["Metric Name"] not in (READ_METRIC, WRITTEN_METRIC):
            continue
        one = found.setdefault(line["Kernel Name"], Moved(line["Kernel Name"]))
        size = float(line["Metric Value"].replace(",", "")) * BYTES_OF_UNIT[line["Metric Unit"]]
        if line["Metric Name"] == READ_METRIC:
            one.launches += 1
            one.read += size
        else:
            one.written += size
    return list(found.values())


def kernels(setting: Setting) -> Iterator[Finding]:
    """Profile the largest shape of each kind: a finding per kernel and a finding per direction."""
    ncu = tool(NCU)
    if ncu is None:
        yield Finding("note", "Nsight Compute (ncu) is not on this machine: DRAM bytes are not measured")
        return
    for index in largest_of_kinds(timed_cases(setting)):
        yield from profiled(setting, ncu, index)


def largest_of_kinds(cases: list[Case]) -> list[int]:
    """Indices of the first case of each kind: by operator, and by self, cross, mutual, block or fuse."""
    first: dict[tuple[str, str], int] = {}
    for i, case in enumerate(cases):
        word = case.shape.split()[0]
        first.setdefault((case.op, word if word.isalpha() else ""), i)
    return list(first.values())


def profiled(setting: Setting, ncu: str, index: int) -> Iterator[Finding]:
    """Profile one case with Nsight Compute."""
    case = timed_cases(setting)[index]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "ncu.csv"
        child = ncu_command(ncu, str(log), command(setting.dry, "bench.gpu.traffic.once", str(index)))
        try:
            said = subprocess.run(child, capture_output=True, text=True, timeout=CASE_SECONDS).stdout
            moved = moved_by_kernel(log.read_text() if log.exists() else said)
        except (subprocess.TimeoutExpired, ValueError, OSError) as error:
            yield Finding("note", f"ncu, {case.op} {case.shape}: {error}", bad=True)
            return
    for one in moved:
        yield moved_finding(case, one, None)
    for direction, declared in declared_of(said).items():
        yield moved_finding(case, total(moved, direction), declared)


def declared_of(said: str) -> dict[str, int]:
    """Bytes that the operators declare, by direction, from the output of the child process."""
    findings = [
        finding
        for finding in map(read_finding, said.splitlines())
        if finding is not None and finding.kind == "declared"
    ]
    return {finding.figures["direction"]: finding.figures["bytes"] for finding in findings}


def total(moved: list[Moved], direction: str) -> Moved:
    """The sum over all kernels of a direction."""
    own = [one for one in moved if one.backward == (direction != DIRECTIONS[0])]
    name = "all of the forward" if direction == DIRECTIONS[0] else "all of the backward"
    return Moved(name, sum(m.launches for m in own), sum(m.read for m in own), sum(m.written for m in own))


def moved_finding(case: Case, moved: Moved, declared: int | None) -> Finding:
    """The finding for one kernel, or for all kernels of a direction."""
    text = f"{case.op} {case.shape}, {moved.kernel}: {(moved.read + moved.written) / 1e6:.1f} MB"
    text += "" if declared is None else f", declared {declared / 1e6:.1f} MB"
    figures: dict[str, Any] = {"op": case.op, "shape": case.shape, "kernel": moved.kernel, "launches": moved.launches}
    figures |= {"read": moved.read, "written": moved.written, "declared": declared}
    return Finding("dram", text, figures=figures)


def once(setting: Setting, index: str) -> Iterator[Finding]:
    """The child process: what the operators of a case declare, then one forward and backward to profile."""
    case = timed_cases(setting)[int(index)]
    *_, (_, run) = runs(setting, case, "triton")
    run()
    with count_operators(DECLARED) as traffic:
        run()
    for name, size in traffic.by_operator.items():
        if name in DECLARED:
            yield finding_of("declared", direction=DIRECTIONS[name.endswith(BACKWARD_OPERATOR)], bytes=size)
    setting.synchronise()
    if not setting.dry:
        torch.cuda.profiler.start()
    run()
    setting.synchronise()
    if not setting.dry:
        torch.cuda.profiler.stop()
