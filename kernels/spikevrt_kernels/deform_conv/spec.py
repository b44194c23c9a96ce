"""The operator's record: its bytes, its launches without tensors, and its test cases."""

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikevrt_kernels.core.case import Case, Draw
from spikevrt_kernels.core.launch import Launch
from spikevrt_kernels.core.operator import FIRST_SCALE, Cost, Declared, Operator, Plan, feature_bytes
from spikevrt_kernels.core.precision import accumulation_dtype
from spikevrt_kernels.core.sums import float_atomics
from spikevrt_kernels.deform_conv.op import flow_guided_deform_conv
from spikevrt_kernels.deform_conv.reference import TAPS
from spikevrt_kernels.deform_conv.triton.steps import backward_share

BACKWARD_LAUNCHES = 3
"""Bias, gradients, conversion of dx; without the conversion where x's gradient is added in floating point."""
GROUPS, MAX_RESIDUE = 16, 10.0
"""Of the default configuration."""


def gathered(x: Tensor, predicted: Tensor) -> int:
    """Numbers of x that one pass over all pairs reads, as if each pixel were read once a pair.

    That is a lower bound where tiles do not share what is around them: how much more they read depends on the offsets.
    Without offsets and flow a tile of 8x8 pixels reads 11x11 of them.
    """
    return prod(predicted.shape[:3]) * x.shape[-1]


def of_forward(x: Tensor, predicted: Tensor, flow: Tensor, weight: Tensor, *others: Any) -> Cost:
    """Cost of the operator `spikevrt::deform_conv`, from its arguments: reads x, predicted, flow; writes the output."""
    dot: torch.dtype = others[2]
    out = prod(predicted.shape[:3]) * weight.shape[0] * dot.itemsize
    read = gathered(x, predicted) * x.dtype.itemsize + feature_bytes(predicted) + feature_bytes(flow)
    return Cost(read + out, 1)


def of_backward(grad: Tensor, x: Tensor, predicted: Tensor, flow: Tensor, *others: Any) -> Cost:
    """Cost of the operator `spikevrt::deform_conv_backward`, from its arguments, kernel by kernel."""
    acc, read = accumulation_dtype(others[-1]), gathered(x, predicted)
    sums = acc if float_atomics() else torch.int64
    share = backward_share(predicted.shape[-1] // (3 * TAPS), x.shape[-1], grad.shape[-1])
    gradients = 2 * feature_bytes(predicted) + share.tap_parts * read * (x.dtype.itemsize + sums.itemsize)
    gradients += share.tap_parts * share.blocks * (feature_bytes(grad) + 2 * feature_bytes(flow))
    convert = 0 if float_atomics() else feature_bytes(x, sums) + feature_bytes(x)
    return Cost(feature_bytes(grad) + gradients + convert, BACKWARD_LAUNCHES - float_atomics())


DECLARED: Declared = {
    "spikevrt::deform_conv": of_forward,
    "spikevrt::deform_conv_backward": of_backward,
    "spikevrt::deform_conv_backward_over": of_backward,
}
"""For `count_operators`, which sees a custom operator but not the kernels inside it."""


def align_launches(
    shape: tuple[int, int, int, int, int], dtype: torch.dtype, groups: int = GROUPS, outputs: int | None = None
) -> dict[str, Launch]:
    """The launches of forward and backward by their names in the tile table, the same on every architecture.

    Args:
        shape: (B,T,H,W,C) of x.
        dtype: type of the features and of the products.
        groups: deformable groups.
        outputs: output channels; None = C.
    """
    from spikevrt_kernels.deform_conv.triton.launch import Call, forward_launch
    from spikevrt_kernels.deform_conv.triton.launch_backward import (
        Bound,
        bias_launch,
        convert_launch,
        gradients_launch,
    )

    B, T, H, W, C = shape
    N, outputs, acc = 2 * B * (T - 1), outputs or C, accumulation_dtype(dtype)

    def empty(*sizes: int, kind: torch.dtype = dtype) -> Tensor:
        return torch.empty(sizes, dtype=kind, device="meta")

    flow = empty(N, 2, H, W, kind=acc)
    weight = empty(TAPS, C, outputs)
    call = Call(empty(*shape), empty(N, H, W, 3 * TAPS * groups), flow, weight, MAX_RESIDUE, dtype, planned=True)
    grad, bound = empty(2, B, T - 1, H, W, outputs), Bound(empty(1, kind=acc), empty(1, kind=acc))
    return {
        "forward": forward_launch(call, empty(outputs, kind=acc))[0],
        "bwd_bias": bias_launch(call, grad)[0],
        "bwd_gradients": gradients_launch(call, grad, bound)[0],
        "bwd_gradients_floating": gradients_launch(call, grad, None)[0],
        "bwd_convert": convert_launch(call, empty(*shape, kind=torch.int64), bound)[0],
    }


class AlignShape(NamedTuple):
    """Shape of one call."""

    B: int
    T: int
    H: int
    W: int
    C: int
    groups: int
    outputs: int
    max_residue: float

    def inputs(self, draw: Draw) -> list[Tensor]:
        """Random x, predicted (B,2,T-1,H,W,27G) and flow (B,2,T-1,2,H,W), clips first; then weight and bias."""
        B, T, H, W, C, groups, outputs, _ = self
        pairs = (B, 2, T - 1)
        weight = draw(outputs, C, 3, 3, spread=(TAPS * C) ** -0.5)
        return [
            draw(B, T, H, W, C),
            draw(*pairs, H, W, 3 * TAPS * groups),
            draw(*pairs, 2, H, W),
            weight,
            draw(outputs),
        ]

    def run(self, inputs: Sequence[Tensor], backend: str) -> Tensor:
        """Run the operator on the result of `inputs`: (B,2,T-1,H,W,outputs)."""
        x, predicted, flow, weight, bias = inputs
        predicted, flow = (t.transpose(0, 1).flatten(0, 2) for t in (predicted, flow))
        return flow_guided_deform_conv(x, predicted, flow, weight, bias, self.max_residue, backend).transpose(0, 1)

    def __str__(self) -> str:
        return f"B{self.B}-C{self.C}-T{self.T}-H{self.H}W{self.W}-G{self.groups}-O{self.outputs}"


def deform_conv_case(size: tuple[int, int, int, int, int], groups: int, outputs: int, max_residue: float) -> Case:
    """A case of the convolution around a flow; `size` is (B,T,H,W,C)."""
    shape = AlignShape(*size, groups, outputs, max_residue)
    names = ("x", "predicted", "flow", "weight", "bias")
    return Case("deform_conv", str(shape), names, 3, shape.inputs, shape.run, settings=f"residue {max_residue:g}")


def plan(T: int, dtype: torch.dtype, architecture: int) -> dict[str, Launch]:
    """The launches for T frames, at least 2, since one has no neighbours; they do not depend on the architecture."""
    B, C, H, W = FIRST_SCALE
    return align_launches((B, max(T, 2), H, W, C), dtype)


PLANS: dict[str, Plan] = {"deformable convolution": plan}


OPERATOR = Operator(
    "deform_conv",
    ("triton", "sdpa"),
    (deform_conv_case((1, 3, 17, 13, 48), 16, 48, 2.5), deform_conv_case((2, 2, 9, 21, 40), 2, 24, 4.0)),
    (deform_conv_case((1, 2, 2, 3, 6), 2, 5, 2.5), deform_conv_case((1, 3, 3, 9, 4), 1, 1, 4.0)),
    (deform_conv_case((8, 2, 576, 576, 96), 16, 96, 2.5),),
    declared=DECLARED,
    plans=PLANS,
)
