"""What the operators along time move and save: the Triton kernels beside the paths that exist without them.

The interpreter counts the kernels, the operator counter the others: it sees PyTorch's operators, not kernels.
"""

from typing import NamedTuple

import torch

from bench.cases import DIRECTIONS, Case
from bench.interpreter_counts import count_in_interpreter
from bench.measure import saved_bytes
from bench.temporal_cases import CHANNELS, FRAMES, OPERATORS, entries, temporal_case
from spikevrt_kernels.proof.operator_counter import OperatorTraffic, count_operators

COUNTED_SHAPE = (1, CHANNELS, FRAMES, 64, 128)
"""Two of the default chunks."""
BOUND_SHAPE = (2, CHANNELS, FRAMES, 256, 256)
"""The default configuration's first scale: 32 chunks."""


class Traffic(NamedTuple):
    """One entry of one operator, in units of one feature tensor."""

    operator: str
    entry: str
    counter: str
    forward: float
    both: float
    saved: float
    forward_launches: int
    both_launches: int


def counted_operators(case: Case, entry: str) -> Traffic:
    """An entry of PyTorch's operators."""
    forward, both = (operators_of(case, entry, direction) for direction in DIRECTIONS)
    return Traffic(
        operator=case.operator,
        entry=entry,
        counter="operators",
        forward=forward.bytes / case.unit,
        both=both.bytes / case.unit,
        saved=saved_bytes(case, entry) / case.unit,
        forward_launches=forward.launches,
        both_launches=both.launches,
    )


def operators_of(case: Case, entry: str, direction: str) -> OperatorTraffic:
    """What one direction's operators move."""
    step = case.traced(entry, direction)
    with count_operators() as traffic:
        step()
    return traffic


def counted_kernels(operator: str) -> Traffic:
    """The Triton entry."""
    counts = count_in_interpreter()[operator]
    forward, both = (counts.moved(direction) for direction in DIRECTIONS)
    launches = counts.forward_launches
    return Traffic(
        operator, "triton", "interpreter", forward, both, counts.saved, launches, launches + counts.backward_launches
    )


def traffic_rows() -> list[Traffic]:
    """Every entry of every operator."""
    rows: list[Traffic] = []
    for operator in OPERATORS:
        case = temporal_case(operator, COUNTED_SHAPE, torch.float32, "cpu")
        rows.extend(counted_operators(case, entry) for entry in entries(operator) if entry != "triton")
        rows.append(counted_kernels(operator))
    return rows
