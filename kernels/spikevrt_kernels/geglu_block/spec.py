"""The operator's record: its bytes and FLOPs, its launches without tensors, and its test cases."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikevrt_kernels.core.case import Case, Draw
from spikevrt_kernels.core.launch import Launch
from spikevrt_kernels.core.operator import FIRST_SCALE, Cost, Declared, Operator, Plan, feature_bytes
from spikevrt_kernels.geglu_block.op import geglu_block, geglu_fuse
from spikevrt_kernels.geglu_block.reference import GEGLUWeights
from spikevrt_kernels.geglu_block.triton.tile_table import Size, division, parts_of

FEATURES = frozenset(f"{name}_ptr" for name in ("x", "aligned", "out", "grad", "dx", "daligned"))
"""Kernel arguments that are features or gradients of features: the costs count these."""


def input_bytes(x: Tensor, aligned: Tensor | None) -> int:
    """Bytes of what the first layers read."""
    return feature_bytes(x) + (0 if aligned is None else feature_bytes(aligned))


def out_bytes(x: Tensor, aligned: Tensor | None, dot: torch.dtype) -> int:
    """Bytes of the result, which has the products' type `dot` in a fusion."""
    return feature_bytes(x, None if aligned is None else dot)


def forward_cost(x: Tensor, aligned: Tensor | None, dot: torch.dtype) -> Cost:
    """Reads x and the aligned frames; writes out. x counts once, although the residual reads it again."""
    return Cost(input_bytes(x, aligned) + out_bytes(x, aligned, dot), 1)


def backward_cost(x: Tensor, aligned: Tensor | None, hidden: int, dot: torch.dtype) -> Cost:
    """Reads inputs and dout, writes the inputs' gradients; then each part of the `hidden` channels reads both again."""
    inputs, grad = input_bytes(x, aligned), out_bytes(x, aligned, dot)
    size = Size(x.shape[-1], hidden, 1 if aligned is None else 3, dot.itemsize)
    parts = division(hidden, parts_of(size)).parts
    return Cost(2 * inputs + grad + parts * (inputs + grad), 2)


def products(x: Tensor, aligned: Tensor | None, hidden: int) -> tuple[int, int]:
    """Multiplications and additions of both first layers, and of the last."""
    one = 2 * hidden * x.numel()
    return (2 if aligned is None else 6) * one, one


def forward_flops(x: Tensor, aligned: Tensor | None, hidden: int) -> int:
    """Multiplications and additions of the forward products; `hidden` is the width R of the MLP."""
    return sum(products(x, aligned, hidden))


def backward_flops(x: Tensor, aligned: Tensor | None, hidden: int) -> int:
    """Multiplications and additions of the backward products: two gradients per product, and what is recomputed.

    Both kernels recompute the hidden channels and their gradient.
    """
    first, last = products(x, aligned, hidden)
    return (2 + 2) * first + (1 + 2) * last


def of_forward(x: Tensor, aligned: Tensor | None, *others: Any) -> Cost:
    """Cost of the operator `spikevrt::geglu_block`, from its arguments."""
    return forward_cost(x, aligned, others[-1])


def of_backward(grad: Tensor, x: Tensor, aligned: Tensor | None, *others: Any) -> Cost:
    """Cost of the operator `spikevrt::geglu_block_backward`, from its arguments."""
    b11, dot = others[3], others[-1]
    return backward_cost(x, aligned, b11.shape[0], dot)


DECLARED: Declared = {
    "spikevrt::geglu_block": of_forward,
    "spikevrt::geglu_block_backward": of_backward,
}
"""For `count_operators`, which sees a custom operator but not the kernels inside it."""


def geglu_launches(
    shape: tuple[int, int, int, int, int],
    dtype: torch.dtype,
    architecture: int,
    fuse: bool = False,
    ratio: float = 2,
    scaled: bool = True,
) -> dict[str, Launch]:
    """The launches of forward and backward, by their names in the tile table.

    Args:
        shape: (B,T,h,w,C) of x.
        dtype: type of the features and of the matrices.
        architecture: whose tile sizes to use (90 for sm_90).
        fuse: whether it is the fusion, else the block.
        ratio: hidden channels for each channel that the first layers read.
        scaled: whether the block has a scale.
    """
    from spikevrt_kernels.geglu_block.triton.launch import Call, dx_launch, forward_launch, weights_launch

    def layer(rows: int, columns: int) -> tuple[Tensor, Tensor]:
        return torch.empty(rows, columns, dtype=dtype, device="meta"), torch.empty(rows, device="meta")

    B, T, h, w, C = shape
    width = 3 * C if fuse else C
    R = int(ratio * width)
    x = torch.empty(shape, dtype=dtype, device="meta")
    aligned = x.new_empty(2, B, T - 1, h, w, C) if fuse else None
    norm = None if fuse else (torch.empty(C, device="meta"), torch.empty(C, device="meta"))
    scale = torch.empty(B, device="meta") if scaled and not fuse else None
    weights = GEGLUWeights(layer(R, width), layer(R, width), layer(C, R))
    call = Call(x, aligned, norm, weights, scale, dtype, architecture)
    return {
        "forward": forward_launch(call)[0],
        "bwd_dx": dx_launch(call, x)[0],
        "bwd_weights": weights_launch(call, x)[0],
    }


SMALL_WEIGHT = 0.3


class GEGLUShape(NamedTuple):
    """Shape of one block, or of one fusion."""

    B: int
    T: int
    h: int
    w: int
    C: int
    R: int
    fuse: bool
    scaled: bool = False
    """Whether every second sample is dropped and the others are scaled."""
    mean: float = 0.0
    """Mean of the features, in units of their standard deviation."""

    def inputs(self, draw: Draw) -> list[Tensor]:
        """Random features, then weights and biases in the order of `names`."""
        B, T, h, w, C, R = self[:6]
        features = [draw(B, T, h, w, C, mean=self.mean)]
        if self.fuse:
            features.append(draw(2, B, T - 1, h, w, C))
        else:
            features += [draw(C, spread=SMALL_WEIGHT, mean=1), draw(C, spread=SMALL_WEIGHT)]
        width = 3 * C if self.fuse else C
        layers = [(draw(n, k, spread=k**-0.5), draw(n, spread=SMALL_WEIGHT)) for n, k in ((R, width),) * 2 + ((C, R),)]
        return features + [tensor for layer in layers for tensor in layer]

    def run(self, inputs: Sequence[Tensor], backend: str) -> Tensor:
        """Run the operator on the result of `inputs`."""
        pairs = list(zip(inputs[-6::2], inputs[-5::2], strict=True))
        x, weights = inputs[0], GEGLUWeights(*pairs)
        if self.fuse:
            return geglu_fuse(x, inputs[1], weights, backend)
        scale = (torch.arange(self.B, device=x.device) + 1) % 2 * 1.25 if self.scaled else None
        return geglu_block(x, (inputs[1], inputs[2]), weights, scale, backend)

    def __str__(self) -> str:
        about = (" scaled" if self.scaled else "") + (f" mean {self.mean:g}" if self.mean else "")
        return f"{'fuse' if self.fuse else 'block'} B{self.B}-T{self.T}-h{self.h}w{self.w}-C{self.C}{about}"


def geglu_case(size: tuple[int, int, int, int, int], hidden: int, scaled: bool = False, mean: float = 0.0) -> Case:
    """A case of the block on x (B,T,h,w,C) = `size`, with `hidden` channels in its MLP."""
    shape = GEGLUShape(*size, hidden, False, scaled, mean)
    return case_of(shape, ("x",), ("norm", "fc11", "fc12", "fc2"))


def fuse_case(size: tuple[int, int, int, int, int], hidden: int) -> Case:
    """A case of the fusion, as `geglu_case`."""
    return case_of(GEGLUShape(*size, hidden, True), ("x", "aligned"), ("fc11", "fc12", "fc2"))


def case_of(shape: GEGLUShape, features: tuple[str, ...], parts: tuple[str, ...]) -> Case:
    """The case of a shape, whose inputs are features and the weight and bias of each part."""
    names = (*features, *(f"{part}.{kind}" for part in parts for kind in ("weight", "bias")))
    settings = f"hidden {shape.R}"
    return Case("geglu_block", str(shape), names, len(features), shape.inputs, shape.run, settings=settings)


def plan(fuse: bool, T: int, dtype: torch.dtype, architecture: int) -> dict[str, Launch]:
    """The launches for T frames on an architecture; of a fusion with as many hidden channels as VRT's pa_fuse."""
    B, C, H, W = FIRST_SCALE
    return geglu_launches((B, T, H, W, C), dtype, architecture, fuse, 1 if fuse else 2)


PLANS: dict[str, Plan] = {"GEGLU block": partial(plan, False), "GEGLU fusion": partial(plan, True)}


OPERATOR = Operator(
    "geglu_block",
    ("triton", "sdpa"),
    (
        geglu_case((2, 3, 13, 7, 24), 48, scaled=True),
        geglu_case((1, 2, 19, 15, 120), 240, mean=5.0),
        geglu_case((1, 1, 9, 7, 180), 90),
        fuse_case((2, 3, 13, 7, 24), 72),
        fuse_case((1, 2, 9, 7, 70), 50),
    ),
    (geglu_case((2, 1, 3, 5, 24), 40, scaled=True), fuse_case((1, 2, 1, 3, 16), 20)),
    (geglu_case((8, 5, 768, 768, 96), 192),),
    declared=DECLARED,
    plans=PLANS,
)
