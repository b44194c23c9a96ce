"""A workload: a case of the self-test in one type on one device, which several entries run.

An entry is a backend (`naive`, `sdpa`, `triton`) or `published`, the loop of the published code; for the whole model
also `by hand` (see bench_model.py).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from spikevrt_kernels.checks.comparison import Comparison, Judge
from spikevrt_kernels.core import names
from spikevrt_kernels.core.case import Case, output_gradient, pure
from spikevrt_kernels.proof.memory import without_storage

BACKENDS = names.BACKENDS[::-1]
PUBLISHED = "published"
BY_HAND = "by hand"
ALL_ENTRIES = (PUBLISHED, *BACKENDS)
DIRECTIONS = ("forward", "forward+backward")


@dataclass(frozen=True)
class Workload:
    """A case with its tensors, and the sizes that make figures comparable."""

    case: Case
    """The case that is measured, named as in the tables."""
    checked: Case
    """The case that is compared with float64: the same, or a smaller one if float64 needs too much memory."""
    dtype: torch.dtype
    """Of features and weights."""
    device: torch.device
    tokens: int
    """Number of pixels of all frames: B*T*H*W."""
    channels: int
    """Channels of a feature tensor."""
    out_shape: tuple[int, ...]
    compared: dict[str, Comparison] = field(default_factory=dict)
    """Comparisons with float64 by entry, kept because both directions need them."""

    @property
    def unit(self) -> int:
        """Bytes of one feature tensor."""
        return self.tokens * self.channels * self.dtype.itemsize

    @cached_property
    def leaves(self) -> list[Tensor]:
        """Features, then weights: all tensors that need gradients."""
        return [x.requires_grad_() for x in self.case.inputs(pure(self.dtype), self.device)]

    @property
    def weights(self) -> list[Tensor]:
        """The leaves without the features."""
        return self.leaves[self.case.features :]

    @cached_property
    def gradient(self) -> Tensor:
        """A random gradient of the output, the same for all entries."""
        return output_gradient(torch.empty(self.out_shape, dtype=self.dtype, device=self.device))

    def run(self, entry: str, leaves: Sequence[Tensor]) -> Tensor:
        """Run the operator by one entry."""
        return self.case.run(leaves, entry)

    def steps(self, entry: str, direction: str) -> Callable[[], list[Tensor]]:
        """The function that is measured; it returns the output, and with backward the gradients of all leaves."""
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
        """The function whose operators are counted; it records gradients in the forward too.

        Without gradients torch.nn.MultiheadAttention is a single operator, whose inner traffic is hidden.
        """
        if direction == DIRECTIONS[1]:
            return self.steps(entry, direction)
        leaves = self.leaves
        return lambda: self.run(entry, leaves)

    def planned(self) -> Callable[[], "Workload"]:
        """A function that makes this workload with empty tensors; call it inside `without_storage` to predict."""
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
        """The judge, which keeps the float64 reference for all entries."""
        return Judge(pure(self.dtype), self.device)

    def check(self, entry: str) -> float:
        """Compare an entry with float64; returns the relative error of the output.

        Raises:
            AssertionError: the error of the output or of a gradient is too large.
        """
        if entry not in self.compared:
            self.compared[entry] = self.judge.compare(self.checked, entry)
        found = self.compared[entry]
        assert found.reason is None, f"{self.case.op}, {self.case.shape}, {entry}: {found.reason}"
        return found.out.error
