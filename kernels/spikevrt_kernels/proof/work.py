"""Counts what a launch executes: each instruction of its binary as often as the loops around it run.

A loop behind a condition of the launch's numbers counts for the programs that meet it; products that a loop chooses by
its index count once; other code behind a condition counts as taken, a wait as one turn.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from triton.backends.compiler import GPUTarget

from spikevrt_kernels.core.launch import Launch
from spikevrt_kernels.proof.compiler import WARP, build, read_binary, signature_of
from spikevrt_kernels.proof.machine_code import (
    Instruction,
    Loop,
    float32_lanes,
    innermost,
    instructions_of,
    loop_tree,
    products_aside,
    shortest_turn,
)
from spikevrt_kernels.proof.roofline import Work, total_work

SCORES, WARPS = 64 * 32, 4
"""What `score_instructions` counts for."""


class UncountedError(RuntimeError):
    """The trips of a loop cannot be found."""


Numbers = np.ndarray[Any, np.dtype[np.int64]]
"""A value for each program, or one for all programs."""
FUNCTION = re.compile(r"tt\.func public @\w+\((.*)\)")
ARGUMENT = re.compile(r"(%\w+): ")
VALUE = re.compile(r"^\s*(%[\w]+) = ([\w.]+)\s+(.*?)(?: overflow<\w+>)? : ")
LOOP = re.compile(r"^(\s*)(?:%[\w:]+ = )?scf\.for (%\w+) = (%[\w#]+) to (%[\w#]+) step (%[\w#]+)")
IF = re.compile(r"^(\s*)(?:%[\w:]+ = )?scf\.if (%[\w#]+) ")
ELSE = re.compile(r"^(\s*)\} else \{")
CLOSED = re.compile(r"^(\s*)\}")
AXES = {"x": 0, "y": 1, "z": 2}
ARITHMETIC: dict[str, Callable[..., Any]] = {
    "arith.addi": np.add,
    "arith.subi": np.subtract,
    "arith.muli": np.multiply,
    "arith.divsi": np.floor_divide,
    "arith.remsi": np.remainder,
    "arith.minsi": np.minimum,
    "arith.maxsi": np.maximum,
    "arith.andi": np.logical_and,
    "arith.cmpi sle": np.less_equal,
    "arith.cmpi slt": np.less,
}
"""Arithmetic on numbers that are never negative here, so division rounds down; conditions."""


@dataclass
class Trips:
    """A loop, or the whole kernel."""

    count: Numbers
    """How often it runs for each run of the loop around it."""
    inner: list["Trips"] = field(default_factory=list)
    index: str = ""
    """The name of its index in the code."""
    chooses: bool = False
    """Whether it chooses by its index what a turn does."""

    @property
    def shape(self) -> tuple[object, ...]:
        """The nesting of the loops."""
        return tuple(loop.shape for loop in self.inner)


def trips_of(ttgir: str, launch: Launch, constants: Sequence[str]) -> Trips:
    """The loops of a compiled launch.

    Args:
        ttgir: `compiled.asm["ttgir"]`.
        launch: whose numbers and grid count.
        constants: parameters that the compiler took as constants.

    Raises:
        UncountedError: a loop's bound follows from what only a run knows, or a `while` is in it.
    """
    whole = Trips(np.ones((), dtype=np.int64))
    open_loops = [(-1, whole)]
    taken: dict[int, Numbers | None] = {}  # Which programs go into a block, by its indentation; None if nothing tells.
    known = numbers_of(ttgir, launch, constants)
    for line in ttgir.splitlines():
        if "scf.while" in line:
            raise UncountedError(f"{launch.kernel.__name__}: nothing says how often a while runs")
        if found := LOOP.match(line):
            indent = len(found[1])
            while open_loops[-1][0] >= indent:
                open_loops.pop()
            there = [programs for at, programs in taken.items() if at < indent and programs is not None]
            loop = Trips(prod(there, start=count_of(launch, known, found.groups()[2:])), index=found[2])
            open_loops[-1][1].inner.append(loop)
            open_loops.append((indent, loop))
        elif found := IF.match(line):
            taken[len(found[1])] = known.get(found[2])
        elif found := ELSE.match(line):
            others = taken[len(found[1])]
            taken[len(found[1])] = None if others is None else np.logical_not(others)
        elif found := CLOSED.match(line):
            taken.pop(len(found[1]), None)
        elif value := VALUE.match(line):
            here = open_loops[-1][1]
            here.chooses |= value[2] == "arith.cmpi" and value[3].startswith(f"eq, {here.index}, ")
            note(known, launch, *value.groups())
    return whole


def numbers_of(ttgir: str, launch: Launch, constants: Sequence[str]) -> dict[str, Numbers]:
    """The launch's integers by their names in the code."""
    header = FUNCTION.search(ttgir)
    assert header is not None
    names = [p.name for p in launch.kernel.params if p.name not in constants]
    found = {}
    for argument, name in zip(ARGUMENT.findall(header[1]), names, strict=True):
        value = launch.arguments.get(name)
        if isinstance(value, int):
            found[argument] = np.asarray(value)
    return found


def count_of(launch: Launch, known: dict[str, Numbers], bounds: Sequence[str]) -> Numbers:
    """Trips from start, end and step."""
    if not all(bound in known for bound in bounds):
        raise UncountedError(f"{launch.kernel.__name__}: nothing says how often a loop over {' '.join(bounds)} runs")
    first, last, step = (known[bound] for bound in bounds)
    return np.maximum(0, -(-(last - first) // step))


def note(known: dict[str, Numbers], launch: Launch, name: str, operation: str, operands: str) -> None:
    """Store a value if it follows from known ones."""
    if operation == "arith.constant" and re.fullmatch(r"-?\d+", operands):
        known[name] = np.asarray(int(operands))
    elif operation in ("tt.get_program_id", "tt.get_num_programs"):
        axis = AXES[operands]
        size = launch.grid[axis] if axis < len(launch.grid) else 1
        each = np.arange(size).reshape([-1 if i == axis else 1 for i in range(3)])
        known[name] = each if operation == "tt.get_program_id" else np.asarray(size)
    elif operation in ("arith.extsi", "arith.trunci") and operands in known:
        known[name] = known[operands]
    operation, operands = condition_of(operation, operands)
    if operation in ARITHMETIC:
        values = [known.get(operand) for operand in operands.split(", ")]
        if all(value is not None for value in values):
            known[name] = ARITHMETIC[operation](*values)


def condition_of(operation: str, operands: str) -> tuple[str, str]:
    """A comparison with its kind in the operation's name."""
    if operation != "arith.cmpi":
        return operation, operands
    kind, _, rest = operands.partition(", ")
    return f"{operation} {kind}", rest


def launch_work(launch: Launch, architecture: int) -> Work:
    """The instructions that a launch executes on sm_<architecture>.

    Raises:
        UncountedError: the binary's loops are not those of the kernel, or nothing says how often one runs.
    """
    compiled, _ = build(launch, GPUTarget("cuda", architecture, WARP), dict(launch.options), False)
    code = instructions_of(read_binary(compiled.asm["cubin"])[1])
    loops, trips = loop_tree(code), trips_of(compiled.asm["ttgir"], launch, list(signature_of(launch)[1]))
    if loops.shape != trips.shape:
        raise UncountedError(
            f"{launch.kernel.__name__} on sm_{architecture}: its binary has other loops than the kernel"
        )
    warps = prod(launch.grid) * compiled.metadata.num_warps
    return Work(*(warps * n for n in executed(code, loops, trips, np.ones((), dtype=np.int64))))


def executed(code: Sequence[Instruction], loop: Loop, trips: Trips, times: Numbers) -> Work:
    """Average work of a warp in a loop that runs `times * trips.count` times, with inner loops."""
    turns = times * trips.count
    once = products_aside(code, loop) if trips.chooses else frozenset()
    work = [sum_of(code, loop.own - once, turns), sum_of(code, once, times)]
    pairs = zip(loop.inner, trips.inner, strict=True)
    return total_work([*work, *(executed(code, inner, its_trips, turns) for inner, its_trips in pairs)])


def sum_of(code: Sequence[Instruction], own: frozenset[int], times: Numbers) -> Work:
    """Average work of a warp that runs instructions so often."""
    found = [code[i] for i in own]
    each = len(found), sum(one.name == "MUFU" for one in found), sum(map(float32_lanes, found))
    return Work(*(float(times.mean()) * n for n in each))


def score_instructions(launch: Launch, architecture: int, scores: int) -> list[float]:
    """Instructions for 64 x 32 scores, a thread of four warps, of each innermost loop that multiplies, in order.

    Of one turn's ways the shortest that multiplies counts: a rare case behind a condition is none of the loop's price.

    Args:
        launch: of a kernel that computes attention.
        architecture: 90 for sm_90.
        scores: that a program computes in a turn.
    """
    compiled, _ = build(launch, GPUTarget("cuda", architecture, WARP), dict(launch.options), False)
    code = instructions_of(read_binary(compiled.asm["cubin"])[1])
    each = SCORES / scores * compiled.metadata.num_warps / WARPS
    return [turn * each for loop in innermost(loop_tree(code)) if (turn := shortest_turn(code, loop))]
