"""Peak memory predicted without a GPU: the work runs on tensors without storage, whose allocations are added up.

Predicted, never measured: allocator rounding, workspaces of libraries (but patches of PyTorch's own convolution) and
CUDA's own choice of an SDPA kernel are not in it. Every custom operator needs its fake.
"""

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_leaves

from spikevrt_kernels.core.backends import planning, runs_on_cpu
from spikevrt_kernels.core.launch import Notes, noted_launches
from spikevrt_kernels.proof.cuda_autocast import cuda_autocast
from spikevrt_kernels.proof.repeated import Watcher, repeating

ITERATIONS = 2
"""The first training step creates the optimiser's state; the second one runs with it."""


class PeakMode(Watcher):
    """Adds up the storages that operators allocate while they are alive.

    torch.distributed's MemTracker counts the same; its hooks on modules take ten times as long and forbid
    `torch.autograd.grad`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.alive: dict[int, int] = {}
        """Bytes of every storage."""
        self.now = self.peak = 0

    def see(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call an operator, and count what it allocates."""
        out = func(*args, **kwargs)
        if not returns_inputs(func):
            for x in tree_leaves(out):
                if isinstance(x, Tensor):
                    self.add(x.untyped_storage())
            self.peak = max(self.peak, self.now + scratch(func, args, out))
        return out

    @contextmanager
    def inside_operators(self, architecture: int = 90) -> Iterator[None]:
        """While active, what the kernels' operators allocate inside themselves counts too, as on an architecture."""
        before = Notes.watch
        Notes.watch = lambda: self
        try:
            with noted_launches(architecture):
                yield
        finally:
            Notes.watch = before

    def add(self, storage: torch.UntypedStorage) -> None:
        """Count a storage once, until it is freed."""
        key, size = storage._cdata, storage.nbytes()
        if key not in self.alive:
            self.alive[key] = size
            self.now += size
            weakref.finalize(storage, self.free, key)

    def free(self, key: int) -> None:
        """Remove a freed storage; its address may be used again."""
        self.now -= self.alive.pop(key)

    def begin(self) -> tuple[int, int]:
        """What is allocated now, and the peak so far."""
        before = self.now, self.peak
        self.peak = self.now
        return before

    def end(self, begun: tuple[int, int]) -> int:
        """The peak since `begin`, beyond what was allocated then."""
        now, peak = begun
        extra, self.peak = self.peak - now, max(self.peak, peak)
        return extra

    def repeat(self, effect: int) -> None:
        """Count a peak once more."""
        self.peak = max(self.peak, self.now + effect)


@cache
def returns_inputs(func: Any) -> bool:
    """Whether an operator returns views of its inputs, or inputs that it writes: it allocates nothing.

    `lift_fresh` returns a constant, which no operator has made.
    """
    name, aliased = func._schema.name, any(r.alias_info is not None for r in func._schema.returns)
    return name == "aten::_unsafe_view" or (aliased and name != "aten::lift_fresh")


ONEDNN_FROM = 20480
"""Elements of the first four axes, from which on PyTorch gives the convolution of a single sample to oneDNN."""


def scratch(func: Any, args: tuple[Any, ...], out: Any) -> int:
    """Bytes that an operator takes inside itself: patches, into which the CPU unfolds small single samples.

    PyTorch's rule (`use_mkldnn` in ATen's Convolution.cpp); what is larger goes to oneDNN, on CUDA to cuDNN.
    """
    if func is not torch.ops.aten.convolution.default or not runs_on_cpu(args[0]):
        return 0
    x, weight, groups = args[0], args[1], args[8]
    large = groups > 1 or min(weight.shape[-2:]) > 3 or len(x) > 1 or prod(x.shape[:4]) > ONEDNN_FROM
    if weight[0, 0].numel() == 1 or (x.dtype == torch.float32 and large):
        return 0
    return int(x.element_size() * weight[0].numel() * prod(out.shape[2:]))


@contextmanager
def without_storage(for_cuda: bool = False) -> Iterator[None]:
    """While active, tensors on the CPU have no storage, and `triton` is accepted on any machine.

    With `for_cuda` operators take the forms that they have on CUDA, and autocast casts what it casts there; otherwise
    those of the CPU.
    """
    autocast = cuda_autocast() if for_cuda else nullcontext()
    with planning(for_cuda), FakeTensorMode(allow_non_fake_inputs=True), autocast, repeating():
        yield


def predicted_peak(
    setup: Callable[[], Callable[[], object]], iterations: int = ITERATIONS, for_cuda: bool = False
) -> int:
    """Peak bytes of all tensors that `setup` and the step that it returns allocate.

    Args:
        setup: makes inputs, modules and optimisers on the CPU, where they take no storage, and returns the step. What
            exists before is not counted; a module of the meta device may come from outside, and be given its storage
            by `to_empty(device="cpu")`. No value of a tensor may decide the way (`.item()`, `if tensor:`). The
            backend `triton` may be asked for on any machine: its operators run their fakes.
        iterations: runs of the step.
        for_cuda: operators take the forms that they have on CUDA; otherwise those of the CPU.
    """
    with without_storage(for_cuda), PeakMode() as mode, mode.inside_operators():
        step = setup()
        for _ in range(iterations):
            step()
    return mode.peak
