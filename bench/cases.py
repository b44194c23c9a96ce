"""A case: one operator on one shape, as every entry of the comparison runs it.

An entry is a backend (`naive`, `sdpa`, `triton`) or `published`, the loop of the published code.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from spikevrt_kernels.checks.comparison import GRADIENT_FACTOR, OUT_FACTOR

Function = Callable[[Sequence[Tensor]], Tensor]
"""The operator on a case's leaves."""
DIRECTIONS = ("forward", "forward+backward")


@dataclass(frozen=True)
class Case:
    """What the entries of one comparison share."""

    operator: str
    """As the tables call it."""
    shape: str
    leaves: list[Tensor]
    """Inputs, then parameters: what training takes gradients of."""
    inputs: int
    """How many of the leaves are inputs."""
    functions: dict[str, Function]
    """By entry; `naive` is the reference."""
    tokens: int
    """B*T*H*W."""
    known_errors: dict[str, list[float]] = field(default_factory=dict)
    """Of the entries that ran: both directions ask for them."""

    @property
    def x(self) -> Tensor:
        """The features that a unit is the size of."""
        return self.leaves[0]

    @property
    def unit(self) -> int:
        """Bytes of one feature tensor."""
        return self.x.numel() * self.x.element_size()

    @property
    def parameters(self) -> list[Tensor]:
        """The leaves that are no inputs."""
        return self.leaves[self.inputs :]

    def steps(self, entry: str, direction: str) -> Callable[[], list[Tensor]]:
        """What is measured: the output, with backward also the gradients of all leaves."""
        function, leaves = self.functions[entry], self.leaves
        plain = [t.detach() for t in leaves]

        def forward() -> list[Tensor]:
            with torch.no_grad():
                return [function(plain)]

        def both() -> list[Tensor]:
            out = function(leaves)
            return [out, *torch.autograd.grad(out, leaves, self.gradient)]

        return forward if direction == "forward" else both

    @cached_property
    def gradient(self) -> Tensor:
        """The gradient of the output, drawn once."""
        with torch.no_grad():
            out = self.functions["naive"](self.leaves)
        generator = torch.Generator().manual_seed(1)
        return torch.randn(out.shape, generator=generator).to(out)

    def traced(self, entry: str, direction: str) -> Callable[[], object]:
        """The step to count operators of: with gradients also in the forward.

        Without them torch.nn.MultiheadAttention is one operator, which hides what it moves inside.
        """
        if direction == DIRECTIONS[1]:
            return self.steps(entry, direction)
        return lambda: self.functions[entry](self.leaves)

    def without_storage(self) -> "Case":
        """The same case on CPU tensors that a fake mode makes, to predict with."""
        leaves = [torch.empty(t.shape, dtype=t.dtype).requires_grad_() for t in self.leaves]
        fake = replace(self, leaves=leaves)
        fake.__dict__["gradient"] = torch.empty(self.gradient.shape, dtype=self.gradient.dtype)
        return fake

    @cached_property
    def wanted(self) -> list[Tensor]:
        """Output and gradients of `naive` in float64, from the same (rounded) leaves."""
        exact = replace(self, leaves=[t.detach().double().requires_grad_() for t in self.leaves])
        exact.__dict__["gradient"] = self.gradient.double()
        return exact.steps("naive", DIRECTIONS[1])()

    @cached_property
    def allowed(self) -> list[float]:
        """The error that each of `wanted` may show: a multiple of naive's own, the self-test's."""
        floor = 2 * torch.finfo(self.x.dtype).eps
        factors = [OUT_FACTOR, *[GRADIENT_FACTOR] * len(self.leaves)]
        own = self.errors("naive")
        return [factor * max(error, floor) for factor, error in zip(factors, own, strict=True)]

    def errors(self, entry: str) -> list[float]:
        """||found - wanted|| / ||wanted|| of the output and of every gradient."""
        if entry not in self.known_errors:
            found = self.steps(entry, DIRECTIONS[1])()
            pairs = zip(found, self.wanted, strict=True)
            self.known_errors[entry] = [relative_error(a.detach(), w.detach()) for a, w in pairs]
        return self.known_errors[entry]

    def check(self, entry: str) -> float:
        """The output's error.

        Raises:
            AssertionError: the output or a gradient errs more than it may; no figure is taken then.
        """
        errors = self.errors(entry)
        for number, (error, allowed) in enumerate(zip(errors, self.allowed, strict=True)):
            what = f"the gradient of leaf {number - 1}" if number else "the output"
            message = f"{self.operator}, {self.shape}, {entry}: {what} errs by {error:.1e}, at most {allowed:.1e}"
            assert error <= allowed, message
        return errors[0]


def relative_error(found: Tensor, wanted: Tensor) -> float:
    """||found - wanted|| / ||wanted||."""
    return float((found.double() - wanted).norm() / wanted.norm().clamp_min(1e-300))


def leaf(generator: torch.Generator, *shape: int, scale: float = 1.0, like: Tensor) -> Tensor:
    """A random leaf in the type and on the device of `like`."""
    return (scale * torch.randn(shape, generator=generator)).to(like).requires_grad_()
