"""Bytes that the Triton kernels of an operator move and save, counted in Triton's interpreter.

The interpreter and the compiler cannot share a process, so `count_in_interpreter` starts one of its own:
`TRITON_INTERPRET=1 python -m bench.without_gpu.counts` prints the counts as JSON.
"""

import json
import os
import subprocess
import sys
from functools import lru_cache
from typing import NamedTuple

import torch

from bench.workloads.temporal import CHANNELS, FRAMES, OPERATORS, temporal_workload
from bench.workloads.workload import DIRECTIONS, Workload
from spikevrt_kernels.temporal_block import spec as block_cost

COUNTED_TILES = (1, CHANNELS, FRAMES, 4, 4)
"""(B,C,T,H,W) of whole tiles of every kernel; counts in units do not depend on the number of tiles."""
COUNTED_DTYPE = torch.float16
"""16 bits as on a GPU; the interpreter computes bfloat16 wrongly."""
FEATURE_POINTERS = block_cost.FEATURES | {f"{name}_ptr" for name in ("q", "k", "v", "o", "do", "dq", "dk", "dv")}
"""Kernel arguments that point to features or their gradients; others (weights, statistics, sums) do not count."""


class Counts(NamedTuple):
    """Counts of an operator, in units of one feature tensor."""

    forward: float
    backward: float
    saved: float
    forward_launches: int
    backward_launches: int

    def moved(self, direction: str) -> float:
        """Units moved in a direction."""
        return self.forward + (0.0 if direction == DIRECTIONS[0] else self.backward)


def count(work: Workload) -> Counts:
    """Run the Triton entry once, forward and backward, and count.

    Raises:
        RuntimeError: this process does not interpret kernels.
    """
    from spikevrt_kernels.proof.byte_counter import count_bytes
    from spikevrt_kernels.proof.operator_counter import count_saved

    with count_bytes() as forward, count_saved(*work.weights) as saved:
        out = work.run("triton", work.leaves)
    with count_bytes() as backward:
        torch.autograd.grad(out, work.leaves, torch.randn_like(out))
    moved = [
        sum(launch.total(*FEATURE_POINTERS) for launch in launches) / work.unit for launches in (forward, backward)
    ]
    return Counts(moved[0], moved[1], sum(saved) / work.unit, len(forward), len(backward))


@lru_cache
def count_in_interpreter() -> dict[str, Counts]:
    """The counts of every operator along time by name, made in a new process."""
    command = [sys.executable, "-m", "bench.without_gpu.counts"]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return {operator: Counts(**counts) for operator, counts in json.loads(done.stdout).items()}


def main() -> None:
    """Count every operator, and print JSON."""
    found = {}
    for operator in OPERATORS:
        found[operator] = count(temporal_workload(operator, COUNTED_TILES, COUNTED_DTYPE, "cpu"))._asdict()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
