"""One operator on random inputs of one shape, and a run of it with every gradient."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

INPUT_SEED, GRADIENT_SEED = 0, 1


class Precision(NamedTuple):
    """Types of a run: of the features, and of the weights, which stay in float32 under autocast."""

    features: torch.dtype
    weights: torch.dtype

    @property
    def autocast(self) -> torch.dtype | None:
        """Autocast's type; None where everything has one type."""
        return self.features if self.features != self.weights else None

    @property
    def floating(self) -> bool:
        """Whether there are gradients."""
        return self.features.is_floating_point

    @property
    def name(self) -> str:
        """`bfloat16`, or `bfloat16 autocast`."""
        name = str(self.features).removeprefix("torch.")
        return f"{name} autocast" if self.autocast else name


def pure(dtype: torch.dtype) -> Precision:
    """Everything in one type."""
    return Precision(dtype, dtype)


def mixed(half: torch.dtype | None) -> Precision:
    """As a model runs: under autocast to `half`, or in float32 without one."""
    return Precision(half or torch.float32, torch.float32)


class Draw:
    """Random numbers from a generator of its own: the state of the run is left alone."""

    def __init__(self, device: torch.device, seed: int = INPUT_SEED) -> None:
        self.generator = torch.Generator(device).manual_seed(seed)
        self.device = device

    def __call__(self, *shape: int, spread: float = 1.0, mean: float = 0.0) -> Tensor:
        """Normal numbers, float32."""
        return torch.randn(shape, generator=self.generator, device=self.device) * spread + mean


@dataclass(frozen=True)
class Case:
    """One operator on inputs of one shape; it can be sent to another process."""

    op: str
    shape: str
    """For people: `self B2-C24-T3-H5W7`."""
    names: tuple[str, ...]
    """Of the inputs, in their order."""
    features: int
    """The first inputs are features; the others are weights."""
    make: Callable[[Draw], list[Tensor]]
    """The inputs, in float32 where they are real numbers."""
    run: Callable[[Sequence[Tensor], str], Tensor]
    """The operator by one backend."""
    reference: str = "naive"
    """The backend that is right."""
    settings: str = ""
    """What else decides: heads, hidden channels, chunks, the configured window."""

    @property
    def key(self) -> tuple[str, str, str]:
        """Cases of one key are the same."""
        return self.op, self.shape, self.settings

    def inputs(self, precision: Precision, device: torch.device) -> list[Tensor]:
        """The same numbers in every call, in the types of `precision`."""
        made = self.make(Draw(device))
        types = [precision.features if i < self.features else precision.weights for i in range(len(made))]
        return [x.to(dtype) for x, dtype in zip(made, types, strict=True)]


class Run(NamedTuple):
    """What one run of a case gives."""

    out: Tensor
    gradients: tuple[Tensor, ...]
    """Of every input; empty where none were asked for."""


def output_gradient(out: Tensor) -> Tensor:
    """The same random gradient for every run of a case, as rounded as `out`."""
    return Draw(out.device, GRADIENT_SEED)(*out.shape).to(out.dtype)


def run_case(
    case: Case, backend: str, inputs: Sequence[Tensor], autocast: torch.dtype | None, grad: Tensor | None
) -> Run:
    """Run a case by one backend, and backward where there is a `grad`, the gradient of its output."""
    leaves = [x.detach().requires_grad_(grad is not None) for x in inputs]
    kind = inputs[0].device.type
    with torch.set_grad_enabled(grad is not None), torch.autocast(kind, autocast, enabled=autocast is not None):
        out = case.run(leaves, backend)
    if grad is None:
        return Run(out, ())
    return Run(out.detach(), gradients(out, leaves, grad.to(out.dtype)))


def gradients(out: Tensor, leaves: Sequence[Tensor], grad: Tensor) -> tuple[Tensor, ...]:
    """`torch.autograd.grad(out, leaves, grad)`, which imports the compiler: a second more for every process."""
    return torch.autograd.grad(GradientOf.apply(out, grad), leaves)


class GradientOf(torch.autograd.Function):
    """A number without a value whose gradient by `out` is `grad`."""

    @staticmethod
    def forward(ctx: Any, out: Tensor, grad: Tensor) -> Tensor:
        ctx.save_for_backward(grad)
        return out.new_empty(())  # Nobody reads it.

    @staticmethod
    def backward(ctx: Any, one: Tensor) -> tuple[Tensor, None]:
        return ctx.saved_tensors[0], None
