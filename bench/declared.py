"""What the Triton kernels of a workload declare to move, and the arithmetic that they need, without running them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch

from bench.temporal_workloads import ATTENTION, CROSS, RATIO
from bench.window_workloads import Group
from bench.workload import DIRECTIONS
from spikevrt_kernels.proof.operator_counter import Cost
from spikevrt_kernels.proof.roofline import GPUS, Bound, Gpu, predict
from spikevrt_kernels.temporal_attention import cost as attention_cost
from spikevrt_kernels.temporal_block import cost as block_cost
from spikevrt_kernels.window_attention import cost as window_cost

DTYPE = torch.bfloat16
"""What a GPU would run; the other rows of a CPU are float32, which units make comparable."""


class Declared(NamedTuple):
    """Of one direction."""

    cost: Cost
    """On sm_90."""
    flops: int
    elsewhere: Mapping[int, Cost] = MappingProxyType({})
    """By architecture (80 for sm_80), where other kernels run."""

    def bound(self, gpu: Gpu) -> Bound:
        """The roofline: predicted, never measured."""
        cost = self.elsewhere.get(gpu.architecture, self.cost)
        return predict(gpu, cost.bytes, self.flops, cost.launches)


def summed(direction: str, costs: tuple[Cost, Cost], flops: tuple[int, int]) -> Declared:
    """The forward's, or both together."""
    if direction == DIRECTIONS[0]:
        return Declared(costs[0], flops[0])
    return Declared(Cost(*map(sum, zip(*costs, strict=True))), sum(flops))


def declared_along_time(operator: str, shape: tuple[int, ...], direction: str) -> Declared:
    """An operator along time on (B,C,T,H,W)."""
    x = torch.empty(shape, dtype=DTYPE, device="meta")
    if operator == ATTENTION:
        costs = attention_cost.forward_cost(x, x, x), attention_cost.backward_cost(x, x, x)
        flops = attention_cost.forward_flops(x, x), attention_cost.backward_flops(x, x)
    else:
        context, hidden = x if operator == CROSS else None, RATIO * shape[1]
        backward = block_cost.backward_cost(x, context, hidden, DTYPE)
        flops = block_cost.forward_flops(x, context, hidden), block_cost.backward_flops(x, context, hidden)
        found = {
            architecture: summed(
                direction, (block_cost.forward_cost(x, context, DTYPE, True, architecture), backward), flops
            )
            for architecture in {90, *(gpu.architecture for gpu in GPUS)}
        }
        return found[90]._replace(elsewhere={architecture: one.cost for architecture, one in found.items()})
    return summed(direction, costs, flops)


def declared_in_windows(group: Group, size: int, direction: str) -> Declared:
    """Window attention on frames of size x size."""
    C, mutual, window = group.channels, group.mutual, group.window
    qkv = torch.empty(1, group.frames, size, size, (6 if mutual else 3) * C, dtype=DTYPE, device="meta")
    offset = torch.empty(3 * C, device="meta")
    costs = (
        window_cost.forward_cost(qkv, offset, mutual),
        window_cost.backward_cost(qkv, offset, mutual, window),
    )
    flops = (
        window_cost.forward_flops(qkv, offset, mutual, window),
        window_cost.backward_flops(qkv, offset, mutual, window),
    )
    return summed(direction, costs, flops)
