"""Counts what a launch executes: each instruction of its binary as often as the loops around it run.

Behind a condition of the launch's numbers, loops and code that multiplies matrices count for the programs and turns
that meet it; other code behind a condition counts as taken, a wait as one turn.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from math import prod

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
    with_branches,
)
from spikevrt_kernels.proof.roofline import Work, total_work
from spikevrt_kernels.proof.trips import Numbers, Trips, UncountedError, folded, trips_of

SCORES, WARPS = 64 * 32, 4
"""What `score_instructions` counts for."""


def launch_work(launch: Launch, architecture: int) -> Work:
    """The instructions that a launch executes on sm_<architecture>.

    Raises:
        UncountedError: the binary's loops are not those of the kernel, or nothing says how often one runs.
    """
    compiled, _ = build(launch, GPUTarget("cuda", architecture, WARP), dict(launch.options))
    code, plain = loops_of(compiled.asm["cubin"])
    every = trips_of(compiled.asm["ttgir"], launch, list(signature_of(launch)[1]))
    loops, trips = with_branches(code, plain) if any_branch(every) else plain, every
    if not nested_alike(loops, trips):
        # The assembler may have split a branch, made one, or a table of many: code in them counts as taken, or `aside`.
        loops, trips = plain, folded(every)
    if not nested_alike(loops, trips):
        trips = without_unrolled(trips, loops)
    if not nested_alike(loops, trips):
        raise UncountedError(
            f"{launch.kernel.__name__} on sm_{architecture}: its binary has other loops than the kernel"
        )
    warps = prod(launch.grid) * compiled.metadata.num_warps
    return Work(*(warps * n for n in executed(code, loops, trips, np.ones((), dtype=np.int64))))


@lru_cache(maxsize=4)
def loops_of(cubin: bytes) -> tuple[list[Instruction], Loop]:
    """Instructions and loops of a binary."""
    code = instructions_of(read_binary(cubin)[1])
    return code, loop_tree(code)


def any_branch(trips: Trips) -> bool:
    """Whether there is a branch in a loop or kernel."""
    return any(one.branch or any_branch(one) for one in trips.inner)


def without_unrolled(trips: Trips, loops: Loop) -> Trips:
    """Trips without the innermost loops that a binary lacks, because the assembler wrote their turns one by one.

    Which of them are left does not matter where all run equally often; otherwise nothing is left out.
    """
    last = [one for one in trips.inner if not one.inner]
    lacking = len(trips.inner) - len(loops.inner)
    alike = len({count for one in last for count in np.unique(one.count).tolist()}) == 1
    gone = last[:lacking] if alike and lacking > 0 else []
    left = [one for one in trips.inner if not any(one is other for other in gone)]
    if len(left) != len(loops.inner):
        return trips
    return replace(trips, inner=[without_unrolled(*pair) for pair in zip(left, loops.inner, strict=True)])


def nested_alike(loops: Loop, trips: Trips) -> bool:
    """Whether a binary's loops and branches nest as those of its kernel."""
    if len(loops.inner) != len(trips.inner):
        return False
    pairs = zip(loops.inner, trips.inner, strict=True)
    return all(one.branch == its.branch and nested_alike(one, its) for one, its in pairs)


def executed(code: Sequence[Instruction], loop: Loop, trips: Trips, times: Numbers) -> Work:
    """Average work of a warp in a loop or branch that runs `times * trips.count` times, with those inside."""
    times = times * trips.count
    aside = frozenset[int]() if trips.aside is None else products_aside(code, loop)
    rarely = times if trips.aside is None else times * trips.aside
    pairs = zip(loop.inner, trips.inner, strict=True)
    inner = (executed(code, inner, its_trips, times) for inner, its_trips in pairs)
    return total_work([sum_of(code, loop.own - aside, times), sum_of(code, aside, rarely), *inner])


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
    compiled, _ = build(launch, GPUTarget("cuda", architecture, WARP), dict(launch.options))
    code = instructions_of(read_binary(compiled.asm["cubin"])[1])
    each = SCORES / scores * compiled.metadata.num_warps / WARPS
    return [turn * each for loop in innermost(loop_tree(code)) if (turn := shortest_turn(code, loop))]
