"""Loops of a binary, from its control flow: how often each instruction runs, once the trips of the loops are known.

`nvdisasm -c` prints an instruction a line and labels between them. A loop is a natural one of the flow graph: a jump
back to an instruction that every way to the jump passes. Jumps back from code that waits aside are none.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

INSTRUCTION = re.compile(r"^\s+/\*[0-9a-f]{4,}\*/\s+(@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)\s*(.*?)\s*;")
LABEL = re.compile(r"^(\.L_\S+):")
TARGET = re.compile(r"`\((\.L_\w+)\)")
TABLE = re.compile(r"BRANCH_TARGETS ([.\w,]+)")
REGISTER_OPERAND = re.compile(r"HGMMA\.\S+ R\d+, R\d+")
WAITS = ("SYNCS", "UTCATOMSW", "NANOSLEEP")
"""Instructions of loops that wait for other hardware; usually they run once."""
STARTED_BY_ONE = 40
"""Instructions at most behind the condition with which one thread of a program starts sm_100's products."""
LANES = {"FFMA": 1, "FADD": 1, "FMUL": 1, "FFMA2": 2, "FADD2": 2, "FMUL2": 2}
"""Float32 operations per thread of an instruction."""


class Instruction(NamedTuple):
    """One instruction of the disassembly."""

    opcode: str
    operands: str
    conditional: bool
    """Whether a predicate guards it."""
    targets: tuple[int, ...]
    """Indices of the instructions that it may jump to."""

    @property
    def name(self) -> str:
        """Name without modifiers."""
        return self.opcode.partition(".")[0]

    @property
    def falls_through(self) -> bool:
        """Whether the next instruction can follow."""
        if self.name not in ("BRA", "BRX", "EXIT", "RET", "CALL"):
            return True
        return self.conditional or (self.name == "BRA" and not self.operands.startswith("`"))


@dataclass
class Loop:
    """A loop, a branch, or the whole kernel."""

    first: int
    """Index of the instruction that it is entered by."""
    body: frozenset[int]
    """Indices of its instructions, with those of inner loops."""
    inner: list["Loop"] = field(default_factory=list)
    branch: bool = False

    @property
    def shape(self) -> tuple[object, ...]:
        """The nesting of the loops."""
        return tuple(loop.shape for loop in self.inner)

    @property
    def own(self) -> frozenset[int]:
        """Instructions that are in no inner loop."""
        return self.body.difference(*(loop.body for loop in self.inner))


def instructions_of(code: str) -> list[Instruction]:
    """The instructions of a disassembled kernel, in order."""
    lines: list[tuple[str, str, bool]] = []
    labels: dict[str, int] = {}
    for line in code.splitlines():
        if label := LABEL.match(line):
            labels[label[1]] = len(lines)
        elif found := INSTRUCTION.match(line):
            lines.append((found[2], found[3], bool(found[1])))
    return [Instruction(*line, targets_of(*line[:2], labels)) for line in lines]


def targets_of(opcode: str, operands: str, labels: dict[str, int]) -> tuple[int, ...]:
    """Targets of a jump; BSSY and others have a label but do not jump."""
    name = opcode.partition(".")[0]
    if name == "BRX" and (table := TABLE.search(operands)):
        return tuple(labels[label] for label in dict.fromkeys(table[1].split(",")))
    if name in ("BRX", "JMP", "JMX"):
        raise RuntimeError(f"a jump whose target is not in the code: {opcode} {operands}")
    found = TARGET.search(operands) if name in ("BRA", "CALL") else None
    return (labels[found[1]],) if found else ()


def flow_of(code: Sequence[Instruction]) -> list[list[int]]:
    """The possible successors of each instruction."""
    following = []
    for i, one in enumerate(code):
        after = [i + 1] if one.falls_through and i + 1 < len(code) else []
        following.append([*after, *one.targets])
    return following


def dominators_of(following: Sequence[Sequence[int]]) -> dict[int, int]:
    """The immediate dominator of each instruction that the first one reaches (Cooper, Harvey and Kennedy)."""
    order = postorder(following)
    rank = {node: i for i, node in enumerate(order)}
    before: dict[int, list[int]] = {node: [] for node in order}
    for node in order:
        for after in following[node]:
            before[after].append(node)
    above = {0: 0}

    def common(a: int, b: int) -> int:
        while a != b:
            while rank[a] < rank[b]:
                a = above[a]
            while rank[b] < rank[a]:
                b = above[b]
        return a

    changed = True
    while changed:
        changed = False
        for node in reversed(order[:-1]):
            found, *others = [b for b in before[node] if b in above]
            for other in others:
                found = common(found, other)
            changed |= above.get(node) != found
            above[node] = found
    return above


def postorder(following: Sequence[Sequence[int]]) -> list[int]:
    """Every reached instruction after those that it reaches first; the first instruction comes last."""
    seen, order = {0}, []
    stack = [(0, iter(following[0]))]
    while stack:
        node, rest = stack[-1]
        for after in rest:
            if after not in seen:
                seen.add(after)
                stack.append((after, iter(following[after])))
                break
        else:
            order.append(node)
            stack.pop()
    return order


def natural_loops(following: Sequence[Sequence[int]]) -> Iterator[tuple[int, frozenset[int]]]:
    """First instruction and body of every loop."""
    above = dominators_of(following)
    before: dict[int, list[int]] = {node: [] for node in above}
    for node in above:
        for after in following[node]:
            before[after].append(node)

    def passes(node: int, header: int) -> bool:
        while node > 0 and node != header:
            node = above[node]
        return node == header

    latches: dict[int, list[int]] = {}
    for node in above:
        for after in following[node]:
            if passes(node, after):
                latches.setdefault(after, []).append(node)
    for header, ends in latches.items():
        body, stack = {header}, list(ends)
        while stack:
            node = stack.pop()
            if node not in body:
                body.add(node)
                stack.extend(before[node])
        yield header, frozenset(body)


def loop_tree(code: Sequence[Instruction]) -> Loop:
    """The kernel with its loops, those that only wait left out; siblings in the order of the code."""
    following = flow_of(code)
    found = [(header, body) for header, body in natural_loops(following) if not waits(code, body)]
    whole = Loop(0, frozenset(postorder(following)))
    # An outer loop is larger than its inner ones.
    for first, body in sorted(found, key=lambda loop: (-len(loop[1]), loop[0])):
        place = whole
        while outer := next((loop for loop in place.inner if body < loop.body), None):
            place = outer
        place.inner.append(Loop(first, body))
        place.inner.sort(key=lambda loop: min(loop.body))
    return whole


def with_branches(code: Sequence[Instruction], loop: Loop) -> Loop:
    """A loop tree with the branches of its loops that multiply matrices, as loops that hold what is in them.

    A branch is the code behind a condition, up to where all ways meet again; branches inside belong to it.
    """
    following = flow_of(code)
    above = dominators_of(following)
    return branched(code, loop, following, above)


def branched(
    code: Sequence[Instruction], loop: Loop, following: Sequence[Sequence[int]], above: dict[int, int]
) -> Loop:
    """The same with the flow of the code and the dominators of its instructions."""
    inner = [branched(code, one, following, above) for one in loop.inner]
    found = [
        Loop(first, body, [one for one in inner if one.first in body], branch=True)
        for first, body in behind_conditions(code, loop, following, above).items()
        if len(body) > STARTED_BY_ONE and any("MMA" in code[i].name for i in body & loop.own)
    ]
    outside = [one for one in inner if not any(one.first in branch.body for branch in found)]
    every = sorted([*outside, *found], key=lambda one: min(one.body))
    return replace(loop, inner=every)


def behind_conditions(
    code: Sequence[Instruction], loop: Loop, following: Sequence[Sequence[int]], above: dict[int, int]
) -> dict[int, frozenset[int]]:
    """The code of a loop that not every turn passes, by the instruction through which it is entered."""
    ends = [i for i in loop.body if loop.first in following[i]] or [i for i in loop.body if code[i].name == "EXIT"]
    passed = frozenset.intersection(*(frozenset(way_up(end, loop.first, above)) for end in ends))
    entries: dict[int, int] = {}

    def entry_of(node: int) -> int:
        way = []
        while node not in entries and above[node] not in passed:
            way.append(node)
            node = above[node]
        entries.update(dict.fromkeys([*way, node], entries.get(node, node)))
        return entries[node]

    found: dict[int, set[int]] = {}
    for i in loop.body - passed:
        found.setdefault(entry_of(i), set()).add(i)
    return {entry: frozenset(body) for entry, body in found.items()}


def products_aside(code: Sequence[Instruction], loop: Loop) -> frozenset[int]:
    """A loop's own instructions that not every turn passes, with matrix products among them."""
    following = flow_of(code)
    aside = behind_conditions(code, loop, following, dominators_of(following)).values()
    multiplying = (body & loop.own for body in aside if any("MMA" in code[i].name for i in body & loop.own))
    return frozenset[int]().union(*multiplying)


def way_up(node: int, first: int, above: dict[int, int]) -> Iterator[int]:
    """A node and those that every way to it passes, up to the first one of its loop."""
    yield node
    while node != first:
        node = above[node]
        yield node


def waits(code: Sequence[Instruction], body: frozenset[int]) -> bool:
    """Whether a loop only waits: for a barrier, or endlessly after the kernel's end."""
    names = Counter(code[i].name for i in body)
    return len(body) == 1 or (len(body) < 16 and any(names[name] for name in WAITS))


def innermost(loop: Loop) -> list[Loop]:
    """The loops inside that hold no others, in the order of the code."""
    return [found for one in loop.inner for found in (innermost(one) if one.inner else [one])]


def shortest_turn(code: Sequence[Instruction], loop: Loop) -> int:
    """Number of instructions on the shortest way through a loop that multiplies matrices, back to where it began."""
    following = flow_of(code)
    outside = (ways for i, ways in enumerate(following) if i not in loop.body)
    first = next(i for ways in outside for i in ways if i in loop.body)
    turn, at = 1, {(first, False)}
    seen = set(at)
    while at:
        after = {(j, done or "MMA" in code[i].name) for i, done in at for j in following[i] if j in loop.body}
        if (first, True) in after:
            return turn
        turn, at = turn + 1, after - seen
        seen |= at
    return 0


def float32_lanes(one: Instruction) -> int:
    """Float32 additions, multiplications and both in one, that an instruction does for a thread."""
    return LANES.get(one.name, 0)


def register_operands(code: str) -> int:
    """Number of Hopper's matrix products with the first operand in registers, that is without a second descriptor."""
    return len(REGISTER_OPERAND.findall(code))
