"""Counts what a launch executes: each instruction of its binary as often as the loops around it run.

Code behind a condition counts as taken, a wait as one turn.
"""

from collections.abc import Sequence
from math import prod

import numpy as np
from triton.backends.compiler import GPUTarget

from spikevrt_kernels.core.launch import Launch
from spikevrt_kernels.proof.compiler import WARP, build, read_binary, signature_of
from spikevrt_kernels.proof.machine_code import Instruction, Loop, float32_lanes, instructions_of, loop_tree
from spikevrt_kernels.proof.roofline import Work, total_work
from spikevrt_kernels.proof.trips import Numbers, Trips, UncountedError, trips_of


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
    times = times * trips.count
    own = [code[i] for i in loop.own]
    once = len(own), sum(one.name == "MUFU" for one in own), sum(map(float32_lanes, own))
    work = [Work(*(float(times.mean()) * n for n in once))]
    pairs = zip(loop.inner, trips.inner, strict=True)
    return total_work([*work, *(executed(code, inner, its_trips, times) for inner, its_trips in pairs)])
