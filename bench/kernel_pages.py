"""docs/kernels_report.md from results: resources, traffic, bounds."""

from collections.abc import Iterator, Sequence

import torch
import triton

from bench.kernel_traffic import BOUND_SHAPE, COUNTED_SHAPE, Traffic, declared_at_bounds
from bench.measure import type_name
from bench.window_workloads import FULL_SIZE
from bench.workload import DIRECTIONS
from spikevrt_kernels.plans import BATCH, CHANNELS, PLANS, SIZE
from spikevrt_kernels.proof.compiler import Resources
from spikevrt_kernels.proof.compiler_amd import GFX942
from spikevrt_kernels.proof.matrix import Cell, Results, cells, key_of
from spikevrt_kernels.proof.roofline import GPUS

INTRODUCTION = """# Kernels report

Made by `make kernels-report`; do not edit. Triton {triton}, torch {torch}: figures belong to that pair. No GPU was
used: binaries are compiled ahead of time and read, bytes are counted, times are predicted bounds and say so.
"""
RESOURCES = """## Resources

Shapes {batch}x{channels}xTx{size}x{size}. Registers, stack (bytes) and LDL + STL (loads and stores of spilled
registers) are a thread's, shared memory is a program's; tensor counts tensor-core instructions, wide 128-bit loads
from global memory; s is the time to compile on the machine that made this page, which other work may have shared.
gfx942 is compiled with what is chosen for sm_80, for interest: nothing is tuned for it (its tensor column counts MFMA,
its registers are vector registers). Kernels whose binary is another operator's are listed there alone.
{missing}"""
TRAFFIC = """## Traffic and saved bytes along time

Units of one feature tensor. `operators`: in and out bytes of every PyTorch operator that is not a view, at
{shape} in float32 on the CPU (two chunks); `interpreter`: bytes that each program of a kernel loads and stores, whole
tiles, in float16; weights, statistics and sums of weight gradients apart. Saved: kept for backward, parameters apart.
`sdpa` is what that backend does on the CPU.
"""
WINDOW_TRAFFIC = """## Traffic and saved bytes of window attention

GB, and in brackets units of one feature tensor ({unit:.4f} GB), of a shifted block of the official configuration at
6x{size}x{size}x96 in bfloat16: windows 6x8x8 (self), or 2x8x8 with mutual attention beside self. Counted on tensors
without storage, in the forms that operators have on CUDA; `operators` as above; `declared`: what the kernels declare,
which tests hold to the interpreter's count. The backward of `sdpa` computes the probabilities again, a few
windows at a time. Saved: kept for backward, parameters apart.
"""
BOUNDS = """## Predicted bounds

**Predicted, never measured**: max(bytes / 85% of bandwidth, FLOPs / 60% of the tensor rate) + 3 us a launch, for the
Triton kernels in bfloat16, from the bytes that they declare: along time at {shape}, in windows as
above. Milliseconds, and what bounds them.
"""
WORST = ("stack", "registers", "shared")
"""What the summary shows the largest of."""


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table: the first column left, the others right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def target_name(architecture: int) -> str:
    """`sm_90`, or AMD's name."""
    return "gfx942" if architecture == GFX942 else f"sm_{architecture}"


def resource_line(cell: Cell, found: Resources) -> list[str]:
    """One line of the table of resources."""
    figures = (
        found.warps,
        found.registers,
        found.stack,
        found.local_loads + found.local_stores,
        found.shared,
        found.tensor_core,
        found.wide_loads,
    )
    name = target_name(cell.architecture)
    return [cell.kernel, name, type_name(cell.dtype), *map(str, figures), f"{found.seconds:.1f}"]


def resource_tables(results: Results) -> Iterator[str]:
    """A table an operator and T."""
    header = ("kernel", "target", "type", "warps", "registers", "stack", "LDL+STL", "shared", "tensor", "wide", "s")
    seen: set[str] = set()
    lines: dict[tuple[str, int], list[list[str]]] = {}
    for cell in cells(PLANS):
        found, key = results.get(cell), key_of(cell)
        if found is not None and key not in seen:
            lines.setdefault((cell.operator, cell.frames), []).append(resource_line(cell, found))
        seen.add(key)
    position = list(PLANS).index
    for (operator, frames), rows in sorted(lines.items(), key=lambda item: (position(item[0][0]), item[0][1])):
        title = f"### {operator[0].upper()}{operator[1:]}, T = {frames}"
        yield f"{title}\n\n{table(header, sorted(rows, key=order))}"


def order(line: Sequence[str]) -> tuple[object, ...]:
    """By kernel, target, type."""
    number = line[1].lstrip("smgfx_")
    return line[0], int(number), line[2]


def summary(results: Results) -> str:
    """Worst figures by target."""
    header = ("target", "kernels", "with a stack", "most stack", "most registers", "most shared", "seconds in all")
    by_target: dict[int, dict[str, Resources]] = {}
    for cell in cells(PLANS):
        found = results.get(cell)
        if found is not None:
            by_target.setdefault(cell.architecture, {})[key_of(cell)] = found
    rows = []
    for architecture, members in sorted(by_target.items(), key=lambda item: item[0]):
        every = list(members.values())
        figures = (len(every), sum(r.spills for r in every), *(max(getattr(r, n) for r in every) for n in WORST))
        rows.append([target_name(architecture), *map(str, figures), f"{sum(r.seconds for r in every):.0f}"])
    return table(header, rows)


def missing_line(results: Results) -> str:
    """How much of the matrix is not there."""
    every = {key_of(cell): cell for cell in cells(PLANS)}
    missing = [cell for cell in every.values() if results.get(cell) is None]
    if not missing:
        return ""
    names: dict[str, list[str]] = {}
    for cell in missing:
        targets = names.setdefault(f"T = {cell.frames} {type_name(cell.dtype)}", [])
        if target_name(cell.architecture) not in targets:
            targets.append(target_name(cell.architecture))
    where = "; ".join(f"{variant}: {', '.join(targets)}" for variant, targets in names.items())
    return f"\n**{len(missing)} of {len(every)} binaries are not compiled yet** (some kernels of {where}).\n"


def traffic_table(rows: Sequence[Traffic]) -> str:
    """Every entry of every operator."""
    header = ("operator", "entry", "counted by", "forward", "forward+backward", "saved", "launches")
    lines = [
        [
            *(row.operator, row.entry, row.counter),
            *(f"{v:.1f}" for v in (row.forward, row.both)),
            f"{row.saved:.2f}",
            f"{row.forward_launches} / {row.both_launches}",
        ]
        for row in rows
    ]
    return table(header, lines)


def window_table(rows: Sequence[Traffic]) -> str:
    """Every entry of window attention, in bytes and units."""
    header = ("operator", "entry", "counted by", "forward", "forward+backward", "saved", "launches")
    lines = [
        [
            *(row.operator, row.entry, row.counter),
            *(f"{units * row.unit / 1e9:.2f} ({units:.1f})" for units in (row.forward, row.both, row.saved)),
            f"{row.forward_launches} / {row.both_launches}",
        ]
        for row in rows
    ]
    return table(header, lines)


def bounds_table() -> str:
    """Milliseconds by operator, direction and GPU."""
    forward, both = (declared_at_bounds(direction) for direction in DIRECTIONS)
    rows = []
    for operator in forward:
        for direction, declared in zip(DIRECTIONS, (forward[operator], both[operator]), strict=True):
            found = [declared.bound(gpu) for gpu in GPUS]
            rows.append([f"{operator}, {direction}", *(f"{b.seconds * 1e3:.2f} {b.limit}" for b in found)])
    return table(("operator", *(gpu.name for gpu in GPUS)), rows)


def page(results: Results, along_time: Sequence[Traffic], windows: Sequence[Traffic]) -> str:
    """The whole page."""
    sizes = {"batch": BATCH, "channels": CHANNELS, "size": SIZE, "missing": missing_line(results)}
    parts = [
        INTRODUCTION.format(triton=triton.__version__, torch=torch.__version__),
        TRAFFIC.format(shape="x".join(map(str, COUNTED_SHAPE))),
        traffic_table(along_time),
        WINDOW_TRAFFIC.format(size=FULL_SIZE, unit=windows[0].unit / 1e9),
        window_table(windows),
        BOUNDS.format(shape="x".join(map(str, BOUND_SHAPE))),
        bounds_table(),
        RESOURCES.format(**sizes),
        summary(results),
        *resource_tables(results),
    ]
    return "\n".join(parts)
