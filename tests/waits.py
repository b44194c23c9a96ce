"""Counts without a GPU how often the host waits for its device: meta tensors stand for CUDA tensors.

Nothing is computed. As with CUDA, tensors are on two devices and operators use their CUDA forms. Meta tensors have no
values, so every attempt to read one is noticed.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from spikevrt_kernels.core.backends import planning

aten = torch.ops.aten
DEVICE = torch.device("meta")
READS = {aten._local_scalar_dense, aten.equal}
SIZES_FROM_VALUES = {aten.nonzero, aten.masked_select, aten._unique2, aten.unique_consecutive, aten.repeat_interleave}
INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}
FUSED = {aten._fused_adamw_, aten._amp_foreach_non_finite_check_and_unscale_, aten._amp_update_scale_}
"""Change their arguments on the device, and have no form for meta tensors."""


class Calls(TorchFunctionMode):
    """Counts tensors made of Python numbers on the device (copied from memory that is not pinned), and `tolist`."""

    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is Tensor.new_tensor and args[0].device == DEVICE:
            self.found.append("new_tensor")
        elif func in (torch.tensor, torch.as_tensor) and kwargs.get("device") == DEVICE:
            self.found.append("tensor")
        elif func is Tensor.tolist and args[0].device == DEVICE:
            self.found.append("tolist")
            return torch.zeros(args[0].shape).tolist()
        return func(*args, **kwargs)


class Operators(TorchDispatchMode):
    """Counts values that the host reads, sizes that depend on values, and copies between both that block."""

    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        packet = func.overloadpacket
        if not any(on_device(x) for x in tree_leaves((args, kwargs))):
            return func(*args, **kwargs)
        if packet in FUSED:
            return None
        if waits(packet, args, kwargs):
            self.found.append(packet.__name__)
        return 1 if packet in READS else func(*args, **kwargs)


def on_device(x: object) -> bool:
    """A tensor or device that stands for CUDA's."""
    device = x.device if isinstance(x, Tensor) else x
    return isinstance(device, torch.device) and device == DEVICE


def waits(packet: Any, args: Any, kwargs: Any) -> bool:
    """Whether the host waits for an operator that has to do with the device."""
    if packet in INDEXING:
        return any(i is not None and (i.dtype in (torch.bool, torch.uint8) or not on_device(i)) for i in args[1])
    if packet in (aten._to_copy, aten.copy_):
        return copy_blocks(packet, args, kwargs)
    return packet in READS | SIZES_FROM_VALUES


def copy_blocks(packet: Any, args: Any, kwargs: Any) -> bool:
    """Whether a copy crosses from one device to the other, unless to CUDA and without blocking."""
    if packet is aten._to_copy:
        source, target = args[0].device, kwargs.get("device") or args[0].device
    else:
        target, source = args[0].device, args[1].device
    non_blocking = kwargs.get("non_blocking", len(args) > 2 and args[2])
    return source != target and not (non_blocking and target == DEVICE)


@contextmanager
def counted_waits() -> Iterator[list[str]]:
    """Names of what makes the host wait for meta tensors, one for every wait, as it comes.

    What the host reads is 1 (from `tolist`: 0).
    """
    found: list[str] = []
    # Meta tensors know no autocast, whose casts make nobody wait.
    without_autocast = patch.multiple(
        torch, autocast=lambda *_, **__: nullcontext(), is_autocast_enabled=lambda *_: False
    )
    with planning(for_cuda=True), without_autocast, Calls(found), Operators(found):
        yield found
