"""Rows of the Triton entry on a machine without a GPU: what was proved, in place of what cannot be measured."""

import torch

from bench.cases import DIRECTIONS
from bench.interpreter_counts import count_in_interpreter
from bench.measure import predict_peak, type_name
from bench.rows import Row
from bench.temporal_cases import ATTENTION, CROSS, RATIO, temporal_case
from spikevrt_kernels.proof.operator_counter import Cost
from spikevrt_kernels.proof.roofline import GPUS, Bound, predict
from spikevrt_kernels.temporal_attention import cost as attention_cost
from spikevrt_kernels.temporal_block import cost as block_cost

DTYPE = torch.bfloat16
"""What a GPU would run; the other rows of a CPU are float32, which units make comparable."""


def declared(operator: str, shape: tuple[int, ...], direction: str, architecture: int = 90) -> tuple[Cost, int]:
    """Bytes and launches that the kernels declare, and the FLOPs of their products; shape (B,C,T,H,W)."""
    x = torch.empty(shape, dtype=DTYPE, device="meta")
    if operator == ATTENTION:
        costs = [attention_cost.forward_cost(x, x, x), attention_cost.backward_cost(x, x, x)]
        flops = [attention_cost.forward_flops(x, x), attention_cost.backward_flops(x, x)]
    else:
        context, hidden = x if operator == CROSS else None, RATIO * shape[1]
        forward = block_cost.forward_cost(x, context, DTYPE, True, architecture)
        costs = [forward, block_cost.backward_cost(x, context, hidden, DTYPE)]
        flops = [block_cost.forward_flops(x, context, hidden), block_cost.backward_flops(x, context, hidden)]
    parts = 1 if direction == DIRECTIONS[0] else 2
    return Cost(*map(sum, zip(*costs[:parts], strict=True))), sum(flops[:parts])


def bounds(operator: str, shape: tuple[int, ...], direction: str) -> dict[str, Bound]:
    """The roofline by GPU's name, each of the kernels that its architecture takes."""
    found = {}
    for gpu in GPUS:
        cost, flops = declared(operator, shape, direction, gpu.architecture)
        found[gpu.name] = predict(gpu, cost.bytes, flops, cost.launches)
    return found


def predicted_bounds(cost: Cost, flops: int) -> dict[str, float]:
    """Seconds by GPU's name, from the roofline."""
    return {gpu.name: predict(gpu, cost.bytes, flops, cost.launches).seconds for gpu in GPUS}


def proof_row(operator: str, shape: tuple[int, ...], direction: str) -> Row:
    """The Triton entry of one comparison, without a time.

    Bytes are what the kernels of sm_90 declare at this shape, which tests hold to the interpreter's count; `counted`
    is that count in units on whole tiles. Bounds are the roofline's: predicted, never measured.
    """
    cost, _ = declared(operator, shape, direction)
    counts = count_in_interpreter()[operator]
    unit = torch.Size(shape).numel() * DTYPE.itemsize
    return Row(
        operator=operator,
        shape="x".join(map(str, shape)),
        direction=direction,
        entry="triton",
        dtype=type_name(DTYPE),
        tokens=unit // DTYPE.itemsize // shape[1],
        unit=unit,
        moved=cost.bytes,
        saved=None if direction == DIRECTIONS[0] else round(counts.saved * unit),
        peak=predict_peak(temporal_case(operator, shape, DTYPE, "cpu"), "triton", direction),
        counted=counts.moved(direction),
        bounds={name: bound.seconds for name, bound in bounds(operator, shape, direction).items()},
    )
