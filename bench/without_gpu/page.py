"""Makes docs/kernels_report.md from results: traffic, bounds, resources."""

from collections.abc import Iterator, Mapping, Sequence

import torch
import triton

from bench.results.measure import type_name
from bench.without_gpu.declared import Declared
from bench.without_gpu.traffic import BOUND_SHAPE, COUNTED_SHAPE, Traffic, bound_cells, declared_at_bounds
from bench.workloads.windows import FULL_SIZE
from bench.workloads.workload import DIRECTIONS
from spikevrt_kernels.core.operator import FIRST_SCALE
from spikevrt_kernels.proof.compile_all import Cell, Results, cells, key_of
from spikevrt_kernels.proof.compiler import ASSEMBLERS, GFX942, Resources, version_of
from spikevrt_kernels.proof.roofline import (
    BANDWIDTH_SHARE,
    EXPONENTIALS,
    GPUS,
    HOST_SECONDS,
    ISSUED,
    LAUNCH_SECONDS,
    TENSOR_SHARE,
    TERMS,
    Gpu,
    Work,
    predict,
    total_work,
)
from spikevrt_kernels.registry import PLANS

INTRODUCTION_TEXT = """# Kernels report

Made by `make kernels-report`; do not edit. Triton {triton}, torch {torch}: figures belong to that pair. No GPU was
used: binaries are compiled ahead of time and read, bytes are counted, times are predicted bounds and say so.
"""
RESOURCES_TEXT = """## Resources

Shapes {batch}x{channels}xTx{size}x{size}. Registers, stack (bytes) and LDL + STL (loads and stores of spilled
registers) are a thread's, shared memory is a program's; tensor counts tensor-core instructions, wide 128-bit loads
from global memory; s is the time to compile on the machine that made this page, which other work may have shared (a
dash: the binary was in Triton's cache).
gfx942 is compiled with what is chosen for sm_80, for interest: nothing is tuned for it (its tensor column counts MFMA,
its registers are vector registers). Kernels whose binary is another operator's are listed there alone.
On sm_90: A counts matrix products whose first operand lies in registers (HGMMA), the form that ptxas before 13.3 is
reported to get wrong at times; the last columns are registers and stack by each assembler that the wheel ships.
{missing}"""
TRAFFIC_TEXT = """## Traffic and saved bytes along time

Units of one feature tensor. `operators`: in and out bytes of every PyTorch operator that is not a view, at
{shape} in float32 on the CPU (two chunks); `interpreter`: bytes that each program of a kernel loads and stores, whole
tiles, in float16; weights, statistics and sums of weight gradients apart. Saved: kept for backward, parameters apart.
`sdpa` is what that backend does on the CPU.
"""
WINDOW_TRAFFIC_TEXT = """## Traffic and saved bytes of window attention

GB, and in brackets units of one feature tensor ({unit:.4f} GB), of a shifted block of the official configuration at
6x{size}x{size}x96 in bfloat16: windows 6x8x8 (self), or 2x8x8 with mutual attention beside self. Counted on tensors
without storage, in the forms that operators have on CUDA; `operators` as above; `declared`: what the kernels declare,
which tests hold to the interpreter's count. The backward of `sdpa` computes the probabilities again, a few
windows at a time. Saved: kept for backward, parameters apart.
"""
AROUND_TRAFFIC_TEXT = """## Traffic and saved bytes around the windows

As in the table before, of the operators around the windows in stage 1 of the default configuration at
5x{size}x{size}x96 in bfloat16; `triton` with what PyTorch does before and after the kernels.
"""
BOUNDS_TEXT = """## Predicted bounds

**Predicted, never measured**: what the Triton kernels take at least in bfloat16, along time at {shape}, in windows
and around them as above; milliseconds by each term, the largest, which binds, in bold. Memory: declared bytes at
{bandwidth:.0%} of the bandwidth; tensor: FLOPs at {tensor:.0%} of their rate; exponentials (with roots and
reciprocals), float32 additions and multiplications, and issued instructions: counted from the binary, each instruction
as often as the loops around it run, at the multiprocessors' peak (each {exponentials} exponentials and {issued}
instructions of warps a clock).
These come with {gap:.0f} us between launches. Host: {host:.1f} us a launch from Python, while earlier kernels run.
Dashes stand where a kernel is not compiled yet, or where nothing says how often a loop of its binary runs.
"""
EXECUTED_TEXT = """### Instructions and exponentials by kernel

**Predicted, never measured**: milliseconds to issue a kernel's instructions / to compute its exponentials.
"""
BOUND_RATES = {
    "bandwidth": BANDWIDTH_SHARE,
    "tensor": TENSOR_SHARE,
    "exponentials": EXPONENTIALS,
    "issued": ISSUED,
    "gap": LAUNCH_SECONDS * 1e6,
    "host": HOST_SECONDS * 1e6,
}
Works = Mapping[tuple[str, str, int], Work]
"""Executed instructions by operator, kernel and architecture."""
SUMMED_UP = ("stack", "registers", "shared")
"""Figures of which the summary shows the largest."""


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table: the first column is aligned left, the others right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def target_name(architecture: int) -> str:
    """Name of a target: `sm_90`, or AMD's `gfx942`."""
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
    name, hopper = target_name(cell.architecture), bool(found.assembled)
    by_assembler = [f"{one.registers} / {one.stack}" for one in found.assembled] or ["-"] * len(ASSEMBLERS)
    operands = str(found.register_operands) if hopper else "-"
    line = [
        cell.kernel,
        name,
        type_name(cell.dtype),
        *map(str, figures),
        "-" if found.seconds is None else f"{found.seconds:.1f}",
    ]
    return [*line, operands, *by_assembler]


def resource_header() -> tuple[str, ...]:
    """Columns of the tables of resources."""
    figures = ("warps", "registers", "stack", "LDL+STL", "shared", "tensor", "wide", "s", "A")
    return "kernel", "target", "type", *figures, *map(version_of, ASSEMBLERS)


def resource_tables(results: Results) -> Iterator[str]:
    """A table for each operator and number of frames."""
    seen: set[str] = set()
    lines: dict[tuple[str, int], list[list[str]]] = {}
    for cell in cells(PLANS):
        found, key = results.get(cell), key_of(cell)
        if found is not None and key not in seen:
            lines.setdefault((cell.operator, cell.frames), []).append(resource_line(cell, found.resources))
        seen.add(key)
    position = list(PLANS).index
    for (operator, frames), rows in sorted(lines.items(), key=lambda item: (position(item[0][0]), item[0][1])):
        title = f"### {operator[0].upper()}{operator[1:]}, T = {frames}"
        yield f"{title}\n\n{markdown_table(resource_header(), sorted(rows, key=order))}"


def order(line: Sequence[str]) -> tuple[object, ...]:
    """Key to sort lines by kernel, target and type."""
    number = line[1].lstrip("smgfx_")
    return line[0], int(number), line[2]


def summary(results: Results) -> str:
    """A table of the worst figures by target."""
    header = ("target", "kernels", "with a stack", "most stack", "most registers", "most shared", "seconds in all")
    by_target: dict[int, dict[str, Resources]] = {}
    for cell in cells(PLANS):
        found = results.get(cell)
        if found is not None:
            by_target.setdefault(cell.architecture, {})[key_of(cell)] = found.resources
    rows = []
    for architecture, members in sorted(by_target.items(), key=lambda item: item[0]):
        every = list(members.values())
        figures = (len(every), sum(r.spills for r in every), *(max(getattr(r, n) for r in every) for n in SUMMED_UP))
        rows.append([target_name(architecture), *map(str, figures), f"{sum(r.seconds or 0 for r in every):.0f}"])
    return markdown_table(header, rows)


def missing_line(results: Results) -> str:
    """A line that says which kernels are not compiled yet; empty if all are."""
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
    """The table of traffic along time."""
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
    return markdown_table(header, lines)


def window_table(rows: Sequence[Traffic]) -> str:
    """A table of traffic in and around windows, in bytes and units."""
    header = ("operator", "entry", "counted by", "forward", "forward+backward", "saved", "launches")
    lines = [
        [
            *(row.operator, row.entry, row.counter),
            *(f"{units * row.unit / 1e9:.2f} ({units:.1f})" for units in (row.forward, row.both, row.saved)),
            f"{row.forward_launches} / {row.both_launches}",
        ]
        for row in rows
    ]
    return markdown_table(header, lines)


def bounds_table(works: Works) -> str:
    """A table of milliseconds by operator, direction, GPU and term; the largest term is bold."""
    by_direction, rows = {direction: declared_at_bounds(direction) for direction in DIRECTIONS}, []
    for operator in by_direction[DIRECTIONS[0]]:
        for direction, of_all in by_direction.items():
            for gpu in GPUS:
                declared, architecture = of_all[operator], gpu.architecture
                every = [works.get((operator, kernel, architecture)) for kernel in declared.launches(architecture)]
                rows.append([f"{operator}, {direction}", gpu.name, *bound_figures(declared, gpu, every)])
    return markdown_table(("operator", "GPU", *TERMS), rows)


def bound_figures(declared: Declared, gpu: Gpu, every: Sequence[Work | None]) -> list[str]:
    """The terms of a bound; dashes if a kernel is not compiled or not counted."""
    found = [work for work in every if work is not None]
    if len(found) < len(every):
        return ["-"] * len(TERMS)
    bound = declared.bound(gpu, total_work(found))
    return [f"**{s * 1e3:.2f}**" if name == bound.limit else f"{s * 1e3:.2f}" for name, s in bound.terms.items()]


def executed_table(works: Works) -> str:
    """A table of milliseconds of instructions and of exponentials by kernel and GPU."""
    lines: dict[tuple[str, str], dict[str, str]] = {}
    for (operator, kernel, architecture), work in works.items():
        gpu = next(gpu for gpu in GPUS if gpu.architecture == architecture)
        bound = predict(gpu, 0, 0, 0, work)
        figures = f"{bound.issue * 1e3:.3f} / {bound.exponentials * 1e3:.3f}"
        lines.setdefault((operator, kernel), {})[gpu.name] = figures
    rows = [[", ".join(name), *(found.get(gpu.name, "-") for gpu in GPUS)] for name, found in lines.items()]
    return markdown_table(("kernel", *(gpu.name for gpu in GPUS)), sorted(rows))


def works_of(results: Results) -> Works:
    """Instructions of the launches of the bounds that are compiled and counted."""
    found = ((cell, results.get(cell)) for cell in bound_cells())
    return {(c.operator, c.kernel, c.architecture): result.work for c, result in found if result and result.work}


def page(results: Results, along_time: Sequence[Traffic], windows: Sequence[Traffic], around: Sequence[Traffic]) -> str:
    """The whole page."""
    works = works_of(results)
    batch, channels, size, _ = FIRST_SCALE
    sizes = {"batch": batch, "channels": channels, "size": size, "missing": missing_line(results)}
    parts = [
        INTRODUCTION_TEXT.format(triton=triton.__version__, torch=torch.__version__),
        TRAFFIC_TEXT.format(shape="x".join(map(str, COUNTED_SHAPE))),
        traffic_table(along_time),
        WINDOW_TRAFFIC_TEXT.format(size=FULL_SIZE, unit=windows[0].unit / 1e9),
        window_table(windows),
        AROUND_TRAFFIC_TEXT.format(size=FULL_SIZE),
        window_table(around),
        BOUNDS_TEXT.format(shape="x".join(map(str, BOUND_SHAPE)), **BOUND_RATES),
        bounds_table(works),
        EXECUTED_TEXT,
        executed_table(works),
        RESOURCES_TEXT.format(**sizes),
        summary(results),
        *resource_tables(results),
    ]
    return "\n".join(parts)
