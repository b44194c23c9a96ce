"""What the entries of one comparison share: a case of the self-test, in one type on one device.

An entry is a backend (`naive`, `sdpa`, `triton`) or `published`, the loop of the published code.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from spikevrt_kernels.checks.comparison import Comparison, Judge
from spikevrt_kernels.core.case import Case, output_gradient, pure
from spikevrt_kernels.proof.memory import without_storage

BACKENDS = ("naive", "sdpa", "triton")
PUBLISHED = "published"
BY_HAND = "by hand"
ALL_ENTRIES = (PUBLISHED, *BACKENDS)
DIRECTIONS = ("forward", "forward+backward")


@dataclass(frozen=True)
class Workload:
    """A case with its tensors, and what makes its figures comparable."""

    case: Case
    """Operator and shape as the tables call them; it runs every entry."""
    checked: Case
    """Where entries are held against float64: the case itself, or a small one where float64 has no room."""
    dtype: torch.dtype
    """Of features and weights."""
    device: torch.device
    tokens: int
    """B*T*H*W."""
    channels: int
    """C of a feature tensor."""
    out_shape: tuple[int, ...]
    compared: dict[str, Comparison] = field(default_factory=dict)
    """By entry: both directions ask."""

    @property
    def unit(self) -> int:
        """Bytes of one feature tensor."""
        return self.tokens * self.channels * self.dtype.itemsize

    @cached_property
    def leaves(self) -> list[Tensor]:
        """Features, then weights: what training takes gradients of."""
        return [x.requires_grad_() for x in self.case.inputs(pure(self.dtype), self.device)]

    @property
    def weights(self) -> list[Tensor]:
        """The leaves that are no features."""
        return self.leaves[self.case.features :]

    @cached_property
    def gradient(self) -> Tensor:
        """The gradient of the output, drawn once."""
        return output_gradient(torch.empty(self.out_shape, dtype=self.dtype, device=self.device))

    def run(self, entry: str, leaves: Sequence[Tensor]) -> Tensor:
        """The operator as one entry does it."""
        return self.case.run(leaves, entry)

    def steps(self, entry: str, direction: str) -> Callable[[], list[Tensor]]:
        """What is measured: the output, with backward also the gradients of all leaves."""
        leaves = self.leaves
        plain, gradient = [t.detach() for t in leaves], self.gradient

        def forward() -> list[Tensor]:
            with torch.no_grad():
                return [self.run(entry, plain)]

        def both() -> list[Tensor]:
            out = self.run(entry, leaves)
            return [out, *torch.autograd.grad(out, leaves, gradient)]

        return forward if direction == DIRECTIONS[0] else both

    def traced(self, entry: str, direction: str) -> Callable[[], object]:
        """The step to count operators of: with gradients also in the forward.

        Without them torch.nn.MultiheadAttention is one operator, which hides what it moves inside.
        """
        if direction == DIRECTIONS[1]:
            return self.steps(entry, direction)
        leaves = self.leaves
        return lambda: self.run(entry, leaves)

    def planned(self) -> Callable[[], "Workload"]:
        """Makes the same with empty CPU tensors, to predict with inside `without_storage`; nothing is drawn."""
        with without_storage():
            shapes = [x.shape for x in self.case.inputs(pure(self.dtype), torch.device("cpu"))]

        def make() -> Workload:
            work = replace(self, device=torch.device("cpu"))
            work.__dict__["leaves"] = [torch.empty(s, dtype=self.dtype).requires_grad_() for s in shapes]
            work.__dict__["gradient"] = torch.empty(self.out_shape, dtype=self.dtype)
            return work

        return make

    @cached_property
    def judge(self) -> Judge:
        """Holds the float64 reference for all entries."""
        return Judge(pure(self.dtype), self.device)

    def check(self, entry: str) -> float:
        """The output's error.

        Raises:
            AssertionError: the output or a gradient errs more than it may; no figure is taken then.
        """
        if entry not in self.compared:
            self.compared[entry] = self.judge.compare(self.checked, entry)
        found = self.compared[entry]
        assert found.reason is None, f"{self.case.op}, {self.case.shape}, {entry}: {found.reason}"
        return found.out.error
