"""Peak memory of a step without a GPU: predicted from what its operators allocate and free.

It sees the tensors that operators return, not the workspaces inside them, nor an allocator's rounding.
"""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class AllocationMode(TorchDispatchMode):
    """Adds up the storages that operators return, as long as each lives."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self.known: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        # What an operator only reads existed before the step.
        self.note((args, kwargs), counted=False)
        out = func(*args, **(kwargs or {}))
        self.note(out, counted=True)
        return out

    def note(self, tree: Any, counted: bool) -> None:
        """Watch storages that were not seen before until they are freed."""
        for tensor in tree_leaves(tree):
            if isinstance(tensor, Tensor) and id(tensor.untyped_storage()) not in self.known:
                self.watch(tensor.untyped_storage(), tensor.untyped_storage().nbytes() if counted else 0)
        self.peak = max(self.peak, self.live)

    def watch(self, storage: torch.UntypedStorage, size: int) -> None:
        """Count `size` bytes until the storage is freed."""
        key = id(storage)

        def freed(_: object) -> None:
            self.live -= size
            del self.known[key]

        self.known[key] = weakref.ref(storage, freed)
        self.live += size


def predict_peak(step: Callable[[], object]) -> int:
    """The most bytes that `step` holds at once, beyond the tensors that existed before it.

    Tensors may be real or fake.
    """
    mode = AllocationMode()
    with mode:
        step()
    return mode.peak
