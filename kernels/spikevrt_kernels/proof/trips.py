"""How often the loops and branches of a kernel run, from its code as Triton compiled it and the numbers of a launch."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from spikevrt_kernels.core.launch import Launch

Numbers = np.ndarray[Any, np.dtype[np.int64]]
"""A value for each program (x,y,z), before them an axis for each loop around whose turns it depends on; 1 = all."""
FUNCTION = re.compile(r"tt\.func public @\w+\((.*)\)")
ARGUMENT = re.compile(r"(%\w+): ")
VALUE = re.compile(r"^\s*(%[\w]+) = ([\w.]+)\s+(.*?)(?: overflow<\w+>)? : ")
CONSTANT = re.compile(r"^\s*(%[\w]+) = arith\.constant (-?\d+|true|false)\b")
LOOP = re.compile(r"^(\s*)(?:%[\w:]+ = )?scf\.for (%\w+) = (%[\w#]+) to (%[\w#]+) step (%[\w#]+)")
IF = re.compile(r"^(\s*)(?:%[\w:]+ = )?scf\.if (%[\w#]+) ")
ELSE = re.compile(r"^(\s*)\} else \{")
CLOSED = re.compile(r"^(\s*)\}")
PRODUCT = re.compile(r"^\s*(?:%[\w:]+ = )?(?:tt\.dot|ttng\.warp_group_dot|ttng\.tc_gen5_mma)\s")
AXES = {"x": 0, "y": 1, "z": 2}
PROGRAM = ("tt.get_program_id", "tt.get_num_programs")
ARITHMETIC: dict[str, Callable[..., Any]] = {
    "arith.addi": np.add,
    "arith.subi": np.subtract,
    "arith.muli": np.multiply,
    "arith.divsi": np.floor_divide,
    "arith.remsi": np.remainder,
    "arith.minsi": np.minimum,
    "arith.maxsi": np.maximum,
    "arith.andi": np.bitwise_and,
    "arith.xori": np.bitwise_xor,
    "arith.extsi": np.asarray,
    "arith.trunci": np.asarray,
    "arith.cmpi eq": np.equal,
    "arith.cmpi ne": np.not_equal,
    "arith.cmpi sle": np.less_equal,
    "arith.cmpi slt": np.less,
    "arith.cmpi sge": np.greater_equal,
    "arith.cmpi sgt": np.greater,
}
"""Arithmetic on numbers that are never negative here, so division rounds down; conditions."""


class UncountedError(RuntimeError):
    """The trips of a loop cannot be found."""


@dataclass
class Trips:
    """A loop, one way of a branch, or the whole kernel."""

    count: Numbers
    """How often it runs for each run of what is around it, on average, in each program; a branch at most once."""
    inner: list["Trips"] = field(default_factory=list)
    branch: bool = False
    """Whether it is one way of a branch."""
    multiplies: bool = False
    """Whether matrices are multiplied in it, in no loop inside."""
    aside: Numbers | None = None
    """How often products behind its conditions run for each of its turns; None if the conditions differ in it."""


@dataclass
class Block:
    """An open block of the code."""

    indent: int
    trips: Trips
    runs: Numbers
    """Which turns of the loops around happen, 1 or 0, with an axis for each of them before those of the programs."""
    condition: Numbers | None = None
    """Of a branch; None if nothing tells."""


class Values:
    """The integers of a launch by their names in the code, computed when they are asked for."""

    def __init__(self, ttgir: str, launch: Launch, constants: Sequence[str]) -> None:
        self.launch = launch
        self.found = numbers_of(ttgir, launch, constants)
        self.written: dict[str, tuple[str, list[str]]] = {}

    def write(self, name: str, operation: str, operands: str) -> None:
        """Note a line of the code; blocks beside each other use the same names."""
        self.found.pop(name, None)
        operation, operands = condition_of(operation, operands)
        self.written[name] = operation, operands.split(", ")

    def get(self, name: str) -> Numbers | None:
        """The value of a name; None if it does not follow from the launch."""
        if name not in self.found and name in self.written:
            value = self.computed(*self.written[name])
            if value is not None:
                self.found[name] = value
        return self.found.get(name)

    def computed(self, operation: str, operands: Sequence[str]) -> Numbers | None:
        """The result of an operation."""
        if operation in PROGRAM:
            return program_numbers(self.launch, operation, AXES[operands[0]])
        if operation not in ARITHMETIC:
            return None
        values = [self.get(operand) for operand in operands]
        return None if any(value is None for value in values) else ARITHMETIC[operation](*values)


def numbers_of(ttgir: str, launch: Launch, constants: Sequence[str]) -> dict[str, Numbers]:
    """The launch's integers by their names in the code."""
    header = FUNCTION.search(ttgir)
    assert header is not None
    names = [p.name for p in launch.kernel.params if p.name not in constants]
    arguments = zip(ARGUMENT.findall(header[1]), names, strict=True)
    values = ((argument, launch.arguments.get(name)) for argument, name in arguments)
    return {argument: np.asarray(value) for argument, value in values if isinstance(value, int)}


def program_numbers(launch: Launch, operation: str, axis: int) -> Numbers:
    """The place of every program on an axis of the grid, or the number of places."""
    size = launch.grid[axis] if axis < len(launch.grid) else 1
    each = np.arange(size).reshape([-1 if i == axis else 1 for i in range(3)])
    return each if operation == "tt.get_program_id" else np.asarray(size)


def condition_of(operation: str, operands: str) -> tuple[str, str]:
    """A comparison with its kind in the operation's name."""
    if operation != "arith.cmpi":
        return operation, operands
    kind, _, rest = operands.partition(", ")
    return f"{operation} {kind}", rest


def trips_of(ttgir: str, launch: Launch, constants: Sequence[str]) -> Trips:
    """The loops of a compiled launch, and those branches that multiply matrices and whose programs are known.

    Args:
        ttgir: `compiled.asm["ttgir"]`.
        launch: whose numbers and grid count.
        constants: parameters that the compiler took as constants.

    Raises:
        UncountedError: a loop's bound follows from what only a run knows, or a `while` is in it.
    """
    one = np.ones((1, 1, 1), dtype=np.int64)
    blocks, values = [Block(-1, Trips(one), one)], Values(ttgir, launch, constants)
    for line in ttgir.splitlines():
        if "scf.while" in line:
            raise UncountedError(f"{launch.kernel.__name__}: nothing says how often a while runs")
        if found := LOOP.match(line):
            blocks.append(open_loop(blocks[-1], values, len(found[1]), found.groups()[1:]))
        elif found := IF.match(line):
            blocks.append(open_branch(blocks[-1], len(found[1]), values.get(found[2])))
        elif found := ELSE.match(line):
            taken = blocks.pop().condition
            blocks.append(open_branch(blocks[-1], len(found[1]), None if taken is None else np.logical_not(taken)))
        elif found := CLOSED.match(line):
            while blocks[-1].indent >= len(found[1]):
                blocks.pop()
        elif PRODUCT.match(line):
            note_product(blocks)
        elif constant := CONSTANT.match(line):
            values.found[constant[1]] = np.asarray(json.loads(constant[2]))
        elif value := VALUE.match(line):
            values.write(*value.groups())
    return folded(blocks[0].trips, lambda around, one: one.multiplies and not around.branch)


def open_loop(around: Block, values: Values, indent: int, names: Sequence[str]) -> Block:
    """The block of a loop: over its number, from start to end by a step."""
    number, *bounds = names
    found = [value for bound in bounds if (value := values.get(bound)) is not None]
    if len(found) < len(bounds):
        kernel = values.launch.kernel.__name__
        raise UncountedError(f"{kernel}: nothing says how often a loop over {' '.join(bounds)} runs")
    first, last, step = found
    count = np.maximum(0, -(-(last - first) // step))
    trips = Trips(average(count, around.runs))
    around.trips.inner.append(trips)
    axes = max(around.runs.ndim, count.ndim)
    turn = np.arange(count.max(initial=0)).reshape(-1, *[1] * axes)
    values.found[number] = first + step * turn
    return Block(indent, trips, around.runs * (turn < count))


def open_branch(around: Block, indent: int, condition: Numbers | None) -> Block:
    """The block of one way of a branch; all turns take it if nothing tells which."""
    if condition is None:
        return Block(indent, around.trips, around.runs)
    taken = condition.astype(np.int64)
    trips = Trips(average(taken, around.runs), branch=True)
    around.trips.inner.append(trips)
    return Block(indent, trips, around.runs * taken, condition)


def folded(trips: Trips, kept: Callable[[Trips, Trips], bool] = lambda around, one: False) -> Trips:
    """Trips with branches folded into what they hold, whose loops then run as much less often.

    Args:
        trips: a loop, or the whole kernel.
        kept: which branches stay, from what is around a branch, and the branch.
    """
    inner, gone = [], []
    for one in trips.inner:
        own = folded(one, kept)
        if not one.branch or kept(trips, one):
            inner.append(own)
        else:
            gone += [own.count] if own.multiplies else []
            inner += [replace(held, count=held.count * one.count) for held in own.inner]
    alike = bool(gone) and not trips.branch and all(np.array_equal(count, gone[0]) for count in gone)
    return replace(trips, inner=inner, aside=gone[0] if alike else None)


def average(value: Numbers, runs: Numbers) -> Numbers:
    """The average over the turns of the loops around, for each program."""
    if value.ndim <= runs.ndim == 3:
        return value
    turns = tuple(range(max(value.ndim, runs.ndim) - 3))
    happen = np.broadcast_to(runs, np.broadcast_shapes(runs.shape, value.shape))
    return np.asarray((value * happen).sum(turns) / np.maximum(1, happen.sum(turns)))


def note_product(blocks: Sequence[Block]) -> None:
    """Note a product in the blocks around it, up to the innermost loop."""
    for block in reversed(blocks):
        block.trips.multiplies = True
        if not block.trips.branch:
            return
