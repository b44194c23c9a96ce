"""Weights in half precision, copied once a step: autocast alone would cast every one by a launch of its own."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from spikevrt.models.vrt.parallel_warping import DCNv2PackFlowGuided
from spikevrt.models.vrt.spynet import SpyNet
from spikevrt.system.device import autocast
from spikevrt_kernels.core.backends import runs_on_cpu
from spikevrt_kernels.linear import Linear


class Slot(NamedTuple):
    """A parameter's place in its module."""

    module: nn.Module
    name: str
    weight: nn.Parameter


class GroupedCast(torch.autograd.Function):
    """Casts tensors to a type by one grouped copy; their gradients come back by another."""

    @staticmethod
    def forward(ctx: Any, half: torch.dtype, *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.types = [weight.dtype for weight in weights]
        ctx.set_materialize_grads(False)
        return tuple(grouped_copy(weights, [half] * len(weights)))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        there = [(grad, dtype) for grad, dtype in zip(grads, ctx.types, strict=True) if grad is not None]
        found = iter(grouped_copy([grad for grad, _ in there], [dtype for _, dtype in there]))
        return None, *(None if grad is None else next(found) for grad in grads)


def grouped_copy(tensors: Sequence[Tensor], types: Sequence[torch.dtype]) -> list[Tensor]:
    """Contiguous copies in other types."""
    copies = [torch.empty(x.shape, dtype=dtype, device=x.device) for x, dtype in zip(tensors, types, strict=True)]
    if copies:
        torch._foreach_copy_(copies, list(tensors))
    return copies


def half_parts(module: nn.Module) -> tuple[str, ...]:
    """Names of the parameters that a module multiplies with.

    Biases of linear layers stay as they are: fused kernels add them in float32. Layer norms and everything of the
    flow network are computed in float32, and the blocks along time fold their norms into their weights first.
    """
    if isinstance(module, _ConvNd):
        return ("weight", "bias")
    return ("weight",) if isinstance(module, Linear | DCNv2PackFlowGuided) else ()


def slots_of(part: nn.Module) -> list[Slot]:
    """The parameters of a part that are cast."""
    if isinstance(part, SpyNet):
        return []
    own = ((name, part._parameters[name]) for name in half_parts(part))
    found = [Slot(part, name, weight) for name, weight in own if weight is not None]
    for child in part.children():
        found += slots_of(child)
    return found


def groups_of(model: nn.Module) -> list[list[Slot]]:
    """The parameters in one group for each stage, so that gradients of late stages are ready early.

    A group is frozen as a whole or not at all: a frozen weight must get no gradient.
    """
    vrt = getattr(model, "vrt", None)
    parts = [*([] if vrt is None else vrt.children()), *(child for child in model.children() if child is not vrt)]
    groups = []
    for slots in map(slots_of, parts):
        for trained in (True, False):
            groups.append([slot for slot in slots if slot.weight.requires_grad == trained])
    return [group for group in groups if group]


@contextmanager
def weights_in_half(model: nn.Module, half: torch.dtype | None) -> Iterator[None]:
    """While active, the layers of a model multiply with copies of their weights in `half`, autocast's type.

    Gradients reach the parameters themselves. A backward pass that recomputes layers belongs inside.

    Args:
        model: VRT or VRTWithSpike with floating parameters.
        half: autocast's type; None changes nothing. Nor does the CPU, where a cast is no launch.
    """
    slots = [] if half is None or runs_on_cpu(next(model.parameters())) else groups_of(model)
    try:
        for group in slots:
            copies = GroupedCast.apply(half, *(slot.weight for slot in group))
            for slot, copy in zip(group, copies, strict=True):
                slot.module._parameters[slot.name] = copy
        yield
    finally:
        for group in slots:
            for slot in group:
                slot.module._parameters[slot.name] = slot.weight


@contextmanager
def half_precision(model: nn.Module, device: torch.device, half: torch.dtype | None) -> Iterator[None]:
    """While active, a model without gradients computes under autocast to `half`, if there is one."""
    with weights_in_half(model, half), autocast(device, half):
        yield
