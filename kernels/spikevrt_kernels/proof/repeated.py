"""Work on tensors without storage depends on shapes alone: it is watched once, and its effect repeated afterwards.

Operators in plain PyTorch loop over parts of their inputs, those with kernels plan their launches, and a model makes
equal calls over and over.
"""

from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack
from torch.utils._pytree import tree_flatten, tree_map_only

from spikevrt_kernels.core.launch import Launch, Notes, pointer

DEVICE = torch.ops.prim.device.default
"""Two of three calls: tensors without storage are asked for their device by an operator, before every other one."""


class Watcher(TorchDispatchMode):
    """A mode that can count once more what it has seen."""

    repeats: ClassVar[bool] = True
    """False for one that must see every operator all the same."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is DEVICE:
            return args[0].fake_device
        return self.see(func, args, kwargs or {})

    @abstractmethod
    def see(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call an operator; returns what it returns."""

    @abstractmethod
    def begin(self) -> Any:
        """Note where a stretch of work begins."""

    @abstractmethod
    def end(self, begun: Any) -> Any:
        """The effect of the work since `begin`, without that of its results on memory."""

    @abstractmethod
    def repeat(self, effect: Any) -> None:
        """Count an effect once more."""


@dataclass(frozen=True)
class Layout:
    """A tensor without its values."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    offset: int
    storage: int
    """Bytes of its storage."""

    @classmethod
    def of(cls, x: Tensor) -> "Layout":
        """The layout of a tensor."""
        return cls(tuple(x.shape), x.stride(), x.dtype, int(x.storage_offset()), x.untyped_storage().nbytes())

    def new(self) -> Tensor:
        """A tensor of its own with this layout."""
        size = self.storage // self.dtype.itemsize
        return torch.empty(size, dtype=self.dtype).as_strided(self.shape, self.stride, self.offset)


class Seen(NamedTuple):
    """What a call did."""

    effects: tuple[Any, ...]
    """For each watcher."""
    launches: tuple[Launch, ...]
    """What it noted."""
    result: Any
    """Its tensors as layouts."""


class Memory:
    """What was seen; `call` takes the place of calls of functions that are `repeatable`."""

    def __init__(self) -> None:
        self.seen: dict[Hashable, Seen] = {}

    def call(self, function: Callable[..., Any], inputs: tuple[Any, ...]) -> Any:
        """function(*inputs), or what it did the first time."""
        watchers = watching()
        if watchers is None:
            return function(*inputs)
        key = function, tuple(map(type, watchers)), key_of(inputs)
        if key not in self.seen:
            result, self.seen[key] = watched(function, inputs, watchers)
            return result
        effects, launches, result = self.seen[key]
        for watcher, effect in zip(watchers, effects, strict=True):
            watcher.repeat(effect)
        if Notes.launches is not None:
            Notes.launches += launches
        return tree_map_only(Layout, Layout.new, result)


@contextmanager
def repeating() -> Iterator[None]:
    """While active, functions that are `repeatable` do equal work once."""
    before, Notes.call = Notes.call, Memory().call
    try:
        yield
    finally:
        Notes.call = before


def watched(function: Callable[..., Any], inputs: Sequence[Any], watchers: Sequence[Watcher]) -> tuple[Any, Seen]:
    """The result of a function, and what it did."""
    first = len(Notes.launches or ())
    begun = [watcher.begin() for watcher in watchers]
    result = function(*inputs)
    effects = tuple(watcher.end(begin) for watcher, begin in zip(watchers, begun, strict=True))
    return result, Seen(effects, tuple((Notes.launches or ())[first:]), tree_map_only(Tensor, Layout.of, result))


def watching() -> list[Watcher] | None:
    """The watchers of now; None if there is a mode that must see every operator."""
    modes = [mode for mode in _get_current_dispatch_mode_stack() if not isinstance(mode, FakeTensorMode)]
    watchers = [mode for mode in modes if isinstance(mode, Watcher) and mode.repeats]
    return watchers if len(watchers) == len(modes) else None


def key_of(inputs: tuple[Any, ...]) -> Hashable:
    """Equal for inputs and contexts in which the same is done."""
    leaves, structure = tree_flatten(inputs)
    kept = tuple(seen_of(x) if isinstance(x, Tensor) else x for x in leaves)
    half = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu")
    return kept, structure, half, torch.is_grad_enabled(), Notes.launches is None, Notes.architecture


def seen_of(x: Tensor) -> Hashable:
    """What work can see of a tensor; of its place in its storage only whether it is aligned."""
    return tuple(x.shape), x.stride(), x.requires_grad, pointer(x)
