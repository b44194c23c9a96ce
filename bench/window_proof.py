"""Rows of window attention's Triton entry on a machine without a GPU."""

import torch

from bench.cases import DIRECTIONS
from bench.measure import predict_peak, type_name
from bench.proof_rows import DTYPE, predicted_bounds
from bench.rows import Row
from bench.window_cases import Group, window_case
from spikevrt_kernels.proof.operator_counter import Cost
from spikevrt_kernels.window_attention import cost


def declared(group: Group, size: int, direction: str) -> tuple[Cost, int]:
    """Bytes and launches that the kernels declare, and the FLOPs of their products."""
    width = (6 if group.mutual else 3) * group.channels
    qkv = torch.empty(1, group.frames, size, size, width, dtype=DTYPE, device="meta")
    offset = torch.empty(3 * group.channels, device="meta")
    costs = [cost.forward_cost(qkv, offset, group.mutual)]
    flops = [cost.forward_flops(qkv, offset, group.mutual, group.window)]
    if direction != DIRECTIONS[0]:
        costs.append(cost.backward_cost(qkv, offset, group.mutual, group.window))
        flops.append(cost.backward_flops(qkv, offset, group.mutual, group.window))
    return Cost(*map(sum, zip(*costs, strict=True))), sum(flops)


def window_proof_row(group: Group, size: int, direction: str) -> Row:
    """The Triton entry of one comparison, without a time.

    Bytes are what the kernels declare at this shape, which tests hold to the interpreter's count. Bounds are the
    roofline's: predicted, never measured.
    """
    total, flops = declared(group, size, direction)
    case = window_case(group, size, DTYPE, "cpu")
    assert case.gradient is not None  # Drawn before tensors without storage are.
    return Row(
        operator=case.operator,
        shape=case.shape,
        direction=direction,
        entry="triton",
        dtype=type_name(DTYPE),
        tokens=case.tokens,
        unit=case.unit,
        moved=total.bytes,
        peak=predict_peak(case, "triton", direction),
        bounds=predicted_bounds(total, flops),
    )
