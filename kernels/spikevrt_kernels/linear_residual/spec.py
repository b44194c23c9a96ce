"""The operator's record: its bytes and FLOPs, its launches without tensors, and its test cases."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from spikevrt_kernels.core.case import Case, Draw
from spikevrt_kernels.core.launch import Launch
from spikevrt_kernels.core.operator import FIRST_SCALE, Cost, Declared, Operator, Plan, feature_bytes
from spikevrt_kernels.core.sums import divided
from spikevrt_kernels.linear_residual.op import linear_residual

FEATURES = frozenset(("a_ptr", "x_ptr", "out_ptr", "grad_ptr"))
"""Kernel arguments that are features or gradients of features: the costs count these."""
PRODUCTS_FORWARD, PRODUCTS_BACKWARD = 1, 2
"""Backward: the gradients of o and of W."""


def forward_cost(x: Tensor, o: Tensor) -> Cost:
    """Reads x and o; writes the output."""
    return Cost(2 * feature_bytes(x) + feature_bytes(o), 1)


def backward_cost(x: Tensor, o: Tensor) -> Cost:
    """Reads the gradient, which is like x, and writes that of o; then reads the gradient and o for the sums of W's."""
    grad, own = feature_bytes(x), feature_bytes(o)
    return Cost(grad + own + divided(x.shape[-1], o.shape[-1]).moved(own, grad), 2)


def forward_flops(x: Tensor, o: Tensor) -> int:
    """Multiplications and additions of the forward product."""
    return 2 * PRODUCTS_FORWARD * x.numel() * o.shape[-1]


def backward_flops(x: Tensor, o: Tensor) -> int:
    """Multiplications and additions of the backward products."""
    return 2 * PRODUCTS_BACKWARD * x.numel() * o.shape[-1]


def of_forward(x: Tensor, o: Tensor, *others: Any) -> Cost:
    """Cost of the operator `spikevrt::linear_residual`, from its arguments."""
    return forward_cost(x, o)


def of_backward(grad: Tensor, o: Tensor, *others: Any) -> Cost:
    """Cost of the operator `spikevrt::linear_residual_backward`, from its arguments."""
    return backward_cost(grad, o)


DECLARED: Declared = {"spikevrt::linear_residual": of_forward, "spikevrt::linear_residual_backward": of_backward}
"""For `count_operators`, which sees a custom operator but not the kernels inside it."""


def linear_residual_launches(
    samples: int, rows: int, C: int, K: int, dtype: torch.dtype, biased: bool = True
) -> dict[str, Launch]:
    """The launches of forward and backward, by their names in the tile table; the same on every architecture.

    Args:
        samples: B, each with its own factor.
        rows: of a sample.
        C: width of x.
        K: width of o.
        dtype: type of features and products; scale and bias are float32.
        biased: whether there is a bias.
    """
    from spikevrt_kernels.linear_residual.triton.launch import Call, do_launch, forward_launch, weights_launch

    def empty(*shape: int) -> Tensor:
        return torch.empty(shape, dtype=dtype, device="meta")

    call = Call(empty(samples, rows, K), empty(C, K), torch.empty(samples, device="meta"), dtype)
    forward, out = forward_launch(call, empty(samples, rows, C), torch.empty(C, device="meta") if biased else None)
    weights, _ = weights_launch(call, out, biased)
    return {"forward": forward, "bwd_do": do_launch(call, out)[0], "bwd_weights": weights}


SMALL_WEIGHT = 0.3
KEEP = 0.8
"""Of drop path."""


def linear_residual_case(shape: Sequence[int], K: int, biased: bool = True, scaled: bool = True) -> Case:
    """A case of a residual linear branch on x of `shape` = (B,...,C), from K channels; `scaled`: with drop path."""
    text = f"{'x'.join(map(str, shape))} from {K}{' biased' if biased else ''}{' scaled' if scaled else ''}"
    names = ("x", "o", "weight", *(["bias"] if biased else []))
    make, call = partial(inputs_of, shape, K, biased), partial(run, scaled)
    return Case("linear_residual", text, names, 2, make, call)


def inputs_of(shape: Sequence[int], K: int, biased: bool, draw: Draw) -> list[Tensor]:
    """Random x, o, weight and bias."""
    C = shape[-1]
    bias = [draw(C, spread=SMALL_WEIGHT)] if biased else []
    return [draw(*shape), draw(*shape[:-1], K), draw(C, K, spread=K**-0.5), *bias]


def run(scaled: bool, inputs: Sequence[Tensor], backend: str) -> Tensor:
    """Run the operator on the result of `inputs_of`; of drop path, every second sample is kept, the last one too."""
    x, o, weight, *bias = inputs
    kept = torch.arange(x.shape[0] - 1, -1, -1, device=x.device) % 2 == 0
    return linear_residual(x, o, weight, bias[0] if bias else None, kept / KEEP if scaled else None, backend)


def plan(inputs: int, T: int, dtype: torch.dtype, architecture: int) -> dict[str, Launch]:
    """The launches for T frames of C channels, from inputs * C; they do not depend on the architecture."""
    B, C, H, W = FIRST_SCALE
    return linear_residual_launches(B, T * H * W, C, inputs * C, dtype)


PLANS: dict[str, Plan] = {
    "projection and residual": partial(plan, 1),
    "mutual projection and residual": partial(plan, 2),
}


OPERATOR = Operator(
    "linear_residual",
    ("triton", "sdpa"),
    (
        linear_residual_case((2, 3, 17, 13, 48), 96),
        linear_residual_case((1, 2, 22, 9, 120), 240, scaled=False),
        linear_residual_case((3, 211, 180), 360, biased=False),
        linear_residual_case((2, 350, 7), 30),
    ),
    (linear_residual_case((3, 2, 5, 24), 48), linear_residual_case((1, 7, 9), 12, biased=False, scaled=False)),
    (linear_residual_case((8, 5, 768, 768, 96), 96),),
    declared=DECLARED,
    plans=PLANS,
)
