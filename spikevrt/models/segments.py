"""Segments: stretches of a model whose intermediates are kept, or computed again in the backward pass, as a whole.

Modules call their parts through `segment`, in forward order. Usually that is a plain call; inside `following`, a
director decides for each segment: to compute it in some way, or to look at it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

from spikevrt_kernels.core.backends import runs_on_cuda


class Way(StrEnum):
    """What a segment keeps for its backward pass, from the most memory to the least."""

    KEEP = "keep"
    """Whatever its operators save."""
    PROJECT = "project again"
    """The same without queries, keys and values, which come again from the features that are kept."""
    SPARE = "again but attention"
    """Its inputs and what attention gives; all else is computed again. On CUDA alone, see `again`."""
    AGAIN = "again"
    """Its inputs alone."""


class Segment(NamedTuple):
    """One call of parts of a model."""

    label: str
    """What it does; segments of one label, shape and structure cost the same."""
    parts: tuple[nn.Module, ...]
    """The modules whose parameters it uses."""
    function: Callable[..., Any]
    inputs: tuple[Any, ...]

    @property
    def attention(self) -> list[nn.Module]:
        """Its modules that can project their queries, keys and values again: those with a flag `project_again`."""
        return [module for part in self.parts for module in part.modules() if hasattr(module, "project_again")]

    @property
    def ways(self) -> tuple[Way, ...]:
        """The ways that differ for it."""
        if not self.attention:
            return Way.KEEP, Way.AGAIN
        first = next(x for x in tree_leaves(self.inputs) if isinstance(x, Tensor))
        return tuple(way for way in Way if way is not Way.SPARE or runs_on_cuda(first))


Director = Callable[[Segment], Any]
"""director(segment) -> the result of its function."""
DIRECTOR: ContextVar[Director | None] = ContextVar("director", default=None)


def segment(label: str, parts: Sequence[nn.Module], function: Callable[..., Any], *inputs: Any) -> Any:
    """function(*inputs), as the director of the present context wants it.

    Args:
        label: as in `Segment`.
        parts: modules whose parameters the function uses.
        function: its tensors with gradients come from `inputs` and `parts` alone; no segment is inside.
        inputs: tensors, or trees of them.
    """
    director = DIRECTOR.get()
    return function(*inputs) if director is None else director(Segment(label, tuple(parts), function, inputs))


@contextmanager
def following(director: Director) -> Iterator[None]:
    """While active, `segment` asks `director`."""
    token = DIRECTOR.set(director)
    try:
        yield
    finally:
        DIRECTOR.reset(token)


def compute(one: Segment, way: Way) -> Any:
    """The result of a segment, of which the backward pass keeps what `way` says."""
    for module in one.attention:
        module.project_again = way is Way.PROJECT  # type: ignore[assignment]
    if way in (Way.KEEP, Way.PROJECT):
        return one.function(*one.inputs)
    return again(one.function, *one.inputs, spare_attention=way is Way.SPARE)


def again(function: Callable[..., Any], *inputs: Any, spare_attention: bool = False) -> Any:
    """function(*inputs), whose intermediates the backward pass computes again (gradient checkpointing).

    Random numbers are those of the first time. With `spare_attention` the outputs of attention are kept; PyTorch sees
    operators one by one for that, which the kernels for the CPU avoid.
    """
    if not torch.is_grad_enabled():
        return function(*inputs)
    if not spare_attention:
        return checkpoint(function, *inputs, use_reentrant=False)
    context = partial(create_selective_checkpoint_contexts, policy)
    return checkpoint(function, *inputs, use_reentrant=False, context_fn=context)


@contextmanager
def recomputed(x: Tensor, function: Callable[[], Tensor]) -> Iterator[None]:
    """While active, autograd saves of `x` and its views only how to get them: function() gives x once more.

    Args:
        x: what operators inside save; nothing else may keep it.
        function: runs without gradients, under the autocast of now.
    """
    key, kind = x.untyped_storage()._cdata, x.device.type
    enabled, half = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)

    def pack(saved: Tensor) -> Any:
        if saved.untyped_storage()._cdata != key:
            return saved
        return saved.shape, saved.stride(), saved.storage_offset()

    def unpack(packed: Any) -> Tensor:
        if isinstance(packed, Tensor):
            return packed
        with torch.no_grad(), torch.autocast(kind, half, enabled):
            return function().as_strided(*packed)

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        yield


ATTENTION = (
    "spikevrt::window_attention",
    "aten::_scaled_dot_product_flash_attention",
    "aten::_scaled_dot_product_flash_attention_for_cpu",
    "aten::_scaled_dot_product_efficient_attention",
    "aten::_scaled_dot_product_cudnn_attention",
)
"""Operators that compute attention in windows; the backend `naive` and the CPU's own kernels have none."""


def policy(context: Any, operator: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
    """Keep the outputs of attention."""
    kept = operator._schema.name in ATTENTION
    return CheckpointPolicy.MUST_SAVE if kept else CheckpointPolicy.PREFER_RECOMPUTE


class Plan:
    """Computes the segments of every forward pass in given ways.

    Args:
        ways: one for each segment, in forward order.
    """

    def __init__(self, ways: Sequence[Way]) -> None:
        self.ways = tuple(ways)

    @contextmanager
    def followed(self) -> Iterator[None]:
        """While active, one forward pass is run."""
        ways = iter(self.ways)
        with following(lambda one: compute(one, next(ways))):
            yield
        assert next(ways, None) is None, "the model has fewer segments than the plan"
