"""Cases: an operator on random inputs of one shape; and a run of a case with all gradients."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

INPUT_SEED, GRADIENT_SEED = 0, 1


class Precision(NamedTuple):
    """Number types of a run: of features, and of weights, which stay in float32 under autocast."""

    features: torch.dtype
    weights: torch.dtype

    @property
    def autocast(self) -> torch.dtype | None:
        """Autocast's type; None if everything has one type."""
        return self.features if self.features != self.weights else None

    @property
    def floating(self) -> bool:
        """Whether the type is floating, so that there are gradients."""
        return self.features.is_floating_point

    @property
    def name(self) -> str:
        """Name for people: `bfloat16`, or `bfloat16 autocast`."""
        name = str(self.features).removeprefix("torch.")
        return f"{name} autocast" if self.autocast else name


def pure(dtype: torch.dtype) -> Precision:
    """A precision with everything in one type."""
    return Precision(dtype, dtype)


def mixed(half: torch.dtype | None) -> Precision:
    """The precision of a model: under autocast to `half`; None means float32."""
    return Precision(half or torch.float32, torch.float32)


class Draw:
    """Draws random numbers from its own generator, so the global random state does not change."""

    def __init__(self, device: torch.device, seed: int = INPUT_SEED) -> None:
        self.generator = torch.Generator(device).manual_seed(seed)
        self.device = device

    def __call__(self, *shape: int, spread: float = 1.0, mean: float = 0.0) -> Tensor:
        """Normal random numbers, float32."""
        return torch.randn(shape, generator=self.generator, device=self.device) * spread + mean


@dataclass(frozen=True)
class Case:
    """An operator on inputs of one shape; can be sent to another process."""

    op: str
    shape: str
    """Shape as text for people, for example `self B2-C24-T3-H5W7`."""
    names: tuple[str, ...]
    """Names of the inputs, in order."""
    features: int
    """Number of features: the first inputs; the others are weights."""
    make: Callable[[Draw], list[Tensor]]
    """Makes the inputs; real numbers are float32."""
    run: Callable[[Sequence[Tensor], str], Tensor]
    """Runs the operator by a backend."""
    reference: str = "naive"
    """The backend that is the reference."""
    settings: str = ""
    """Other settings of the case: heads, hidden channels, chunks, the configured window."""

    @property
    def key(self) -> tuple[str, str, str]:
        """Equal for cases that are the same."""
        return self.op, self.shape, self.settings

    def inputs(self, precision: Precision, device: torch.device) -> list[Tensor]:
        """The inputs in the types of `precision`; the same numbers in every call."""
        made = self.make(Draw(device))
        types = [precision.features if i < self.features else precision.weights for i in range(len(made))]
        return [x.to(dtype) for x, dtype in zip(made, types, strict=True)]


class Run(NamedTuple):
    """Results of one run of a case."""

    out: Tensor
    gradients: tuple[Tensor, ...]
    """Gradients of all inputs; empty if none were asked for."""


def output_gradient(out: Tensor) -> Tensor:
    """A random gradient of the output in its type, the same for every run of a case."""
    return Draw(out.device, GRADIENT_SEED)(*out.shape).to(out.dtype)


def run_case(
    case: Case, backend: str, inputs: Sequence[Tensor], autocast: torch.dtype | None, grad: Tensor | None
) -> Run:
    """Run a case by a backend; with backward if `grad`, the gradient of the output, is given."""
    leaves = [x.detach().requires_grad_(grad is not None) for x in inputs]
    kind = inputs[0].device.type
    with torch.set_grad_enabled(grad is not None), torch.autocast(kind, autocast, enabled=autocast is not None):
        out = case.run(leaves, backend)
    if grad is None:
        return Run(out, ())
    return Run(out.detach(), gradients(out, leaves, grad.to(out.dtype)))


def gradients(out: Tensor, leaves: Sequence[Tensor], grad: Tensor) -> tuple[Tensor, ...]:
    """`torch.autograd.grad(out, leaves, grad)` without importing the compiler, which takes a second."""
    return torch.autograd.grad(GradientOf.apply(out, grad), leaves)


class GradientOf(torch.autograd.Function):
    """Makes a scalar whose gradient by `out` is `grad`."""

    @staticmethod
    def forward(ctx: Any, out: Tensor, grad: Tensor) -> Tensor:
        ctx.save_for_backward(grad)
        return out.new_empty(())  # Nobody reads it.

    @staticmethod
    def backward(ctx: Any, one: Tensor) -> tuple[Tensor, None]:
        return ctx.saved_tensors[0], None
