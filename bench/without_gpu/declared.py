"""What the Triton kernels of a workload declare: bytes, FLOPs and launches, and result rows made from them."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from types import MappingProxyType
from typing import NamedTuple

import torch

from bench.results.measure import predict_peak, predict_saved, type_name
from bench.results.rows import SHOWN_GPUS, Row
from bench.without_gpu.counts import count_in_interpreter
from bench.workloads.around import AroundKind, around_workload
from bench.workloads.temporal import ATTENTION, CROSS, HEADS, RATIO, temporal_workload
from bench.workloads.windows import HEADS as WINDOW_HEADS
from bench.workloads.windows import WindowKind, window_workload
from bench.workloads.workload import DIRECTIONS, Workload
from spikevrt_kernels.core.launch import Launch
from spikevrt_kernels.core.operator import Cost
from spikevrt_kernels.proof.calls import Calls
from spikevrt_kernels.proof.memory import without_storage
from spikevrt_kernels.proof.roofline import GPUS, Bound, Gpu, Work, predict, total_work
from spikevrt_kernels.proof.work import launch_work
from spikevrt_kernels.registry import DECLARED
from spikevrt_kernels.temporal_attention import spec as attention_cost
from spikevrt_kernels.temporal_attention.spec import attention_launches
from spikevrt_kernels.temporal_block import spec as block_cost
from spikevrt_kernels.temporal_block.spec import block_launches
from spikevrt_kernels.window_attention import spec as window_cost
from spikevrt_kernels.window_attention.spec import window_launches

DTYPE = torch.bfloat16
"""The type that a GPU would run. Rows measured on a CPU are float32; figures in units are comparable."""
FORWARD = DIRECTIONS[0]


class Declared(NamedTuple):
    """What the kernels of one direction declare."""

    cost: Cost
    """Bytes and launches on sm_90."""
    flops: int
    launches: Callable[[int], dict[str, Launch]]
    """Makes the launches by name for an architecture (90 for sm_90)."""
    elsewhere: Mapping[int, Cost] = MappingProxyType({})
    """Costs on other architectures, which run other kernels."""

    def work(self, architecture: int) -> Work:
        """Instructions that the launches execute; compiles their kernels."""
        every = [launch_work(launch, architecture) for launch in self.launches(architecture).values()]
        return total_work(every)

    def bound(self, gpu: Gpu, work: Work) -> Bound:
        """The roofline bound of the launches: predicted, never measured."""
        cost = self.elsewhere.get(gpu.architecture, self.cost)
        return predict(gpu, cost.bytes, self.flops, cost.launches, work)


def summed(
    direction: str, costs: tuple[Cost, Cost], flops: tuple[int, int], launches: Callable[[int], dict[str, Launch]]
) -> Declared:
    """The forward's figures, or the sum of forward and backward."""

    def in_direction(architecture: int) -> dict[str, Launch]:
        return {name: one for name, one in launches(architecture).items() if direction != FORWARD or is_forward(name)}

    if direction == FORWARD:
        return Declared(costs[0], flops[0], in_direction)
    return Declared(Cost(*map(sum, zip(*costs, strict=True))), sum(flops), in_direction)


def is_forward(name: str) -> bool:
    """Whether a launch of this name belongs to the forward."""
    return not (name.startswith("bwd_") or name.endswith("backward"))


def launches_along_time(operator: str, shape: tuple[int, ...], architecture: int) -> dict[str, Launch]:
    """Launches of an operator along time on (B,C,T,H,W) in a training step."""
    B, C, T, H, W = shape
    if operator == ATTENTION:
        return attention_launches((B, C, T, H, W), DTYPE, HEADS)
    launches = block_launches((B, C, T, H, W), DTYPE, architecture, operator == CROSS, HEADS, RATIO)
    return {name: one for name, one in launches.items() if name != "block_inference"}


def declared_along_time(operator: str, shape: tuple[int, ...], direction: str) -> Declared:
    """What an operator along time declares on (B,C,T,H,W)."""
    x, launches = torch.empty(shape, dtype=DTYPE, device="meta"), partial(launches_along_time, operator, shape)
    if operator == ATTENTION:
        costs = attention_cost.forward_cost(x, x, x), attention_cost.backward_cost(x, x, x)
        return summed(
            direction, costs, (attention_cost.forward_flops(x, x), attention_cost.backward_flops(x, x)), launches
        )
    context, hidden = x if operator == CROSS else None, RATIO * shape[1]
    backward = block_cost.backward_cost(x, context, hidden, DTYPE)
    flops = block_cost.forward_flops(x, context, hidden), block_cost.backward_flops(x, context, hidden)
    found = {}
    for architecture in {90, *(gpu.architecture for gpu in GPUS)}:
        costs = block_cost.forward_cost(x, context, DTYPE, True, architecture), backward
        found[architecture] = summed(direction, costs, flops, launches)
    return found[90]._replace(elsewhere={architecture: one.cost for architecture, one in found.items()})


def launches_in_windows(group: WindowKind, size: int, architecture: int) -> dict[str, Launch]:
    """Launches of a shifted block on frames of size x size."""
    shape = (1, group.frames, size, size, group.channels)
    return window_launches(shape, DTYPE, architecture, group.mutual, WINDOW_HEADS, group.window, group.shift)


def declared_in_windows(group: WindowKind, size: int, direction: str) -> Declared:
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
    return summed(direction, costs, flops, partial(launches_in_windows, group, size))


@cache
def calls_around(kind: AroundKind, size: int, direction: str, architecture: int) -> Calls:
    """What an operator around the windows calls on frames of size x size, on tensors without storage."""
    make = around_workload(kind, size, DTYPE, "cpu").planned()
    calls = Calls(architecture)
    with without_storage(for_cuda=True):
        step = make().traced("triton", direction)
        with calls.count(DECLARED, lambda: ""):
            step()
    return calls


def launches_around(kind: AroundKind, size: int, direction: str, architecture: int) -> dict[str, Launch]:
    """Its launches by the names of their kernels, numbered where a kernel is launched more than once."""
    calls, found = calls_around(kind, size, direction, architecture), dict[str, Launch]()
    for call, count in calls.times.items():
        for key in count * call.kernels:
            name = key.binary.kernel.rpartition(".")[2].removesuffix("_kernel")
            found[f"{name} {len(found) + 1}" if name in found else name] = calls.launches[key]
    return found


def declared_around(kind: AroundKind, size: int, direction: str) -> Declared:
    """An operator around the windows on frames of size x size, with what PyTorch does before and after its kernels."""
    times = calls_around(kind, size, direction, 90).times
    moved, flops, launches = (
        sum(count * getattr(call, name) for call, count in times.items()) for name in ("bytes", "flops", "launches")
    )
    return Declared(Cost(moved, launches), flops, partial(launches_around, kind, size, direction))


def proof_row(work: Workload, direction: str, declared: Declared) -> Row:
    """The row of the Triton entry on a machine that cannot run it, without a time.

    Bytes are those that the kernels declare; tests compare them with the interpreter's count. Bounds come from the
    roofline: predicted, never measured.
    """
    shown = [gpu for gpu in GPUS if gpu.name in SHOWN_GPUS]
    return Row(
        operator=work.case.op,
        shape=work.case.shape,
        direction=direction,
        entry="triton",
        dtype=type_name(work.dtype),
        tokens=work.tokens,
        unit=work.unit,
        moved=declared.cost.bytes,
        saved=None if direction == DIRECTIONS[0] else predict_saved(work, "triton"),
        peak=predict_peak(work, "triton", direction),
        bounds={gpu.name: declared.bound(gpu, declared.work(gpu.architecture)).seconds for gpu in shown},
    )


def proof_along_time(operator: str, shape: tuple[int, ...], direction: str) -> Row:
    """The row of an operator along time; `counted` holds the interpreter's count on whole tiles."""
    work = temporal_workload(operator, shape, DTYPE, "cpu")
    row = proof_row(work, direction, declared_along_time(operator, shape, direction))
    return replace(row, counted=count_in_interpreter()[operator].moved(direction))


def proof_in_windows(group: WindowKind, size: int, direction: str) -> Row:
    """Window attention on frames of size x size."""
    work = window_workload(group, size, DTYPE, "cpu")
    return proof_row(work, direction, declared_in_windows(group, size, direction))


def proof_around(kind: AroundKind, size: int, direction: str) -> Row:
    """An operator around the windows on frames of size x size."""
    return proof_row(around_workload(kind, size, DTYPE, "cpu"), direction, declared_around(kind, size, direction))
