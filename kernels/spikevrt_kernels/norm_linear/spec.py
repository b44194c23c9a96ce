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
from spikevrt_kernels.norm_linear.op import norm_linear

FEATURES = frozenset(("x_ptr", "a_ptr", "out_ptr", "grad_ptr", "dx_ptr"))
"""Kernel arguments that are features or gradients of features: the costs count these."""
PRODUCTS_FORWARD, PRODUCTS_BACKWARD = 1, 2
"""Backward: the gradients of LN(x) and of W."""


def forward_cost(x: Tensor, N: int, dot: torch.dtype) -> Cost:
    """Reads x; writes the output, which has N columns in the type `dot`."""
    return Cost(feature_bytes(x) + output_bytes(x, N, dot), 1)


def backward_cost(x: Tensor, N: int, dot: torch.dtype) -> Cost:
    """Reads the gradient and x and writes dx; then reads both again for the sums of W's gradient."""
    own, grad = feature_bytes(x), output_bytes(x, N, dot)
    return Cost(2 * own + grad + divided(N, x.shape[-1]).moved(own, grad), 2)


def output_bytes(x: Tensor, N: int, dot: torch.dtype) -> int:
    """Bytes of the output."""
    return feature_bytes(x, dot) // x.shape[-1] * N


def forward_flops(x: Tensor, N: int) -> int:
    """Multiplications and additions of the forward product."""
    return 2 * PRODUCTS_FORWARD * x.numel() * N


def backward_flops(x: Tensor, N: int) -> int:
    """Multiplications and additions of the backward products."""
    return 2 * PRODUCTS_BACKWARD * x.numel() * N


def of_forward(x: Tensor, gamma: Tensor, beta: Tensor, weight: Tensor, *others: Any) -> Cost:
    """Cost of the operator `spikevrt::norm_linear`, from its arguments."""
    return forward_cost(x, weight.shape[0], others[-1])


def of_backward(grad: Tensor, x: Tensor, *others: Any) -> Cost:
    """Cost of the operator `spikevrt::norm_linear_backward`, from its arguments."""
    return backward_cost(x, grad.shape[-1], grad.dtype)


DECLARED: Declared = {"spikevrt::norm_linear": of_forward, "spikevrt::norm_linear_backward": of_backward}
"""For `count_operators`, which sees a custom operator but not the kernels inside it."""


def norm_linear_launches(rows: int, C: int, N: int, dtype: torch.dtype, biased: bool = False) -> dict[str, Launch]:
    """The launches of forward and backward, by kernel; the same on every architecture.

    Args:
        rows: of x.
        C: width of x.
        N: width of the output.
        dtype: type of x and of the products; the norm and the bias are float32.
        biased: whether there is a bias.
    """
    from spikevrt_kernels.norm_linear.triton.launch import Call, dx_launch, forward_launch, weights_launch

    def parameter(*shape: int) -> Tensor:
        return torch.empty(shape, device="meta")

    x, weight = parameter(rows, C).to(dtype), parameter(N, C).to(dtype)
    norm = parameter(C), parameter(C)
    call = Call(x, norm, weight, parameter(N) if biased else None, dtype)
    forward, out = forward_launch(call)
    dx, _, stats = dx_launch(call, out)
    return {"forward": forward, "bwd_dx": dx, "bwd_weights": weights_launch(call, out, stats)[0]}


SMALL_WEIGHT = 0.3


def norm_linear_case(shape: Sequence[int], N: int, biased: bool = False, mean: float = 0.0) -> Case:
    """A case of layer norm and a linear layer, from `shape` = (...,C) to N; x has this mean in standard deviations."""
    text = f"{'x'.join(map(str, shape))} to {N}{' biased' if biased else ''}{f' mean {mean:g}' if mean else ''}"
    names = ("x", "norm.weight", "norm.bias", "weight", *(["bias"] if biased else []))
    return Case("norm_linear", text, names, 1, partial(inputs_of, shape, N, biased, mean), run)


def inputs_of(shape: Sequence[int], N: int, biased: bool, mean: float, draw: Draw) -> list[Tensor]:
    """Random x, gamma, beta, weight and bias."""
    C = shape[-1]
    norm = [draw(C, spread=SMALL_WEIGHT, mean=1), draw(C, spread=SMALL_WEIGHT)]
    bias = [draw(N, spread=SMALL_WEIGHT)] if biased else []
    return [draw(*shape, mean=mean), *norm, draw(N, C, spread=C**-0.5), *bias]


def run(inputs: Sequence[Tensor], backend: str) -> Tensor:
    """Run the operator on the result of `inputs_of`."""
    x, gamma, beta, weight, *bias = inputs
    return norm_linear(x, (gamma, beta), weight, bias[0] if bias else None, backend)


def plan(outputs: int, T: int, dtype: torch.dtype, architecture: int) -> dict[str, Launch]:
    """The launches for T frames of C channels, with outputs * C outputs; they do not depend on the architecture."""
    B, C, H, W = FIRST_SCALE
    return norm_linear_launches(B * T * H * W, C, outputs * C, dtype)


PLANS: dict[str, Plan] = {"norm and projection": partial(plan, 3), "norm and mutual projection": partial(plan, 6)}


OPERATOR = Operator(
    "norm_linear",
    ("triton", "sdpa"),
    (
        norm_linear_case((2, 3, 17, 13, 48), 144),
        norm_linear_case((1, 5, 22, 9, 120), 720, biased=True),
        norm_linear_case((1, 2, 9, 7, 480), 180, biased=True),
        norm_linear_case((1, 700, 30), 7, mean=5.0),
    ),
    (norm_linear_case((2, 3, 5, 24), 72, biased=True), norm_linear_case((1, 7, 12), 9)),
    (norm_linear_case((8, 5, 768, 768, 96), 288),),
    declared=DECLARED,
    plans=PLANS,
)
