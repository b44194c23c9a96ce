"""The operator's record: its bytes, its launches without tensors, and its test cases."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from spikevrt_kernels.core.case import Case, Draw
from spikevrt_kernels.core.launch import Launch
from spikevrt_kernels.core.operator import FIRST_SCALE, Cost, Declared, Operator, Plan, feature_bytes
from spikevrt_kernels.core.precision import accumulation_dtype
from spikevrt_kernels.core.sums import float_atomics
from spikevrt_kernels.warp_pairs.op import warp_pairs

BACKWARD_LAUNCHES = 3
"""Flow, scattered sums, and their conversion with the frames' own gradients."""


def pair_numbers(x: Tensor, flow: Tensor) -> int:
    """Numbers of one frame of every pair.

    So many are read of the neighbours, as if each pixel were read once a pair: a lower bound where tiles do not share
    what is around them, because how much more they read depends on the flow.
    """
    return flow[:, 0].numel() * x.shape[-1]


def of_forward(x: Tensor, flow: Tensor) -> Cost:
    """Cost of the operator `spikevrt::warp_pairs`: reads neighbours, frames and flow; writes all of them."""
    frames = 2 * pair_numbers(x, flow)
    return Cost((2 * frames + flow.numel()) * x.dtype.itemsize + feature_bytes(flow), 1)


def of_backward(grad: Tensor, x: Tensor, flow: Tensor) -> Cost:
    """Cost of the operator `spikevrt::warp_pairs_backward`, from its arguments, kernel by kernel."""
    pairs = pair_numbers(x, flow)
    sums = accumulation_dtype(x.dtype) if float_atomics() else torch.int64
    own = pairs * x.dtype.itemsize  # of the warped channels, or of the frames beside
    flows = 2 * own + flow.numel() * x.dtype.itemsize + 2 * feature_bytes(flow)
    scatter = own + feature_bytes(flow) + pairs * sums.itemsize
    convert = own + feature_bytes(x, sums) + feature_bytes(x)
    return Cost(flows + scatter + convert, BACKWARD_LAUNCHES)


DECLARED: Declared = {
    "spikevrt::warp_pairs": of_forward,
    "spikevrt::warp_pairs_backward": of_backward,
}
"""For `count_operators`, which sees a custom operator but not the kernels inside it."""


def warp_launches(shape: tuple[int, int, int, int, int], dtype: torch.dtype) -> dict[str, Launch]:
    """The launches of forward and backward by their names in the tile table, the same on every architecture.

    Args:
        shape: (B,T,H,W,C) of x.
        dtype: type of the features.
    """
    from spikevrt_kernels.warp_pairs.triton.launch import (
        Call,
        convert_launch,
        flow_launch,
        forward_launch,
        scatter_launch,
    )

    B, T, H, W, _ = shape
    x = torch.empty(shape, dtype=dtype, device="meta")
    flow = x.new_empty((2 * B * (T - 1), 2, H, W), dtype=accumulation_dtype(dtype))
    call, largest = Call(x, flow, planned=True), flow.new_empty(1)
    forward, grad = forward_launch(call)
    scatter, sums = scatter_launch(call, grad, largest)
    floating, float_sums = scatter_launch(call, grad, None)
    return {
        "forward": forward,
        "bwd_flow": flow_launch(call, grad, False)[0],
        "bwd_scatter": scatter,
        "bwd_convert": convert_launch(call, grad, sums, largest)[0],
        "bwd_flow_floating": flow_launch(call, grad, True)[0],
        "bwd_scatter_floating": floating,
        "bwd_convert_floating": convert_launch(call, grad, float_sums, None)[0],
    }


class WarpShape(NamedTuple):
    """Shape of one call."""

    B: int
    T: int
    H: int
    W: int
    C: int

    def inputs(self, draw: Draw) -> list[Tensor]:
        """Random x and flow (B,2,T-1,2,H,W), clips first; some positions are outside."""
        B, T, H, W, _ = self
        return [draw(*self), draw(B, 2, T - 1, 2, H, W, spread=1.5)]

    def run(self, inputs: Sequence[Tensor], backend: str) -> Tensor:
        """Run the operator on the result of `inputs`: (B,2,T-1,H,W,2C+2)."""
        x, flow = inputs
        pairs = warp_pairs(x, flow.transpose(0, 1).flatten(0, 2), backend)
        return pairs.unflatten(0, (2, self.B, self.T - 1)).transpose(0, 1)

    def __str__(self) -> str:
        return f"B{self.B}-C{self.C}-T{self.T}-H{self.H}W{self.W}"


def warp_pairs_case(size: tuple[int, int, int, int, int]) -> Case:
    """A case of the input of the offset convolutions; `size` is (B,T,H,W,C)."""
    shape = WarpShape(*size)
    return Case("warp_pairs", str(shape), ("x", "flow"), 2, shape.inputs, shape.run)


def plan(T: int, dtype: torch.dtype, architecture: int) -> dict[str, Launch]:
    """The launches for T frames, at least 2, since one has no neighbours; they do not depend on the architecture."""
    B, C, H, W = FIRST_SCALE
    return warp_launches((B, max(T, 2), H, W, C), dtype)


PLANS: dict[str, Plan] = {"input of the offset convolutions": plan}


OPERATOR = Operator(
    "warp_pairs",
    ("triton", "sdpa"),
    (warp_pairs_case((1, 3, 17, 13, 48)), warp_pairs_case((2, 2, 9, 21, 40))),
    (warp_pairs_case((1, 2, 2, 3, 6)), warp_pairs_case((1, 3, 3, 9, 4))),
    (warp_pairs_case((8, 2, 1184, 1184, 96)),),
    declared=DECLARED,
    plans=PLANS,
)
