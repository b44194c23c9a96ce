"""Segments: stretches of a model whose intermediates are kept, or computed again in the backward pass, as a whole.

Modules call their parts through `segment`, in forward order. Usually that is a plain call; inside `following`, a
director decides for each segment: to compute it in some way, or to look at it.
"""

import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
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
    LEAST = "again, projections twice"
    """Its inputs alone; while it is computed again, queries, keys and values are not kept either."""
    SINGLY = "again, block by block"
    """The inputs of its blocks, of which one at a time is computed again, its projections twice."""


class Segment(NamedTuple):
    """One call of parts of a model."""

    label: str
    """What it does; segments of one label, shape and structure cost the same."""
    parts: tuple[nn.Module, ...]
    """The modules whose parameters it uses."""
    function: Callable[..., Any]
    inputs: tuple[Any, ...]

    @property
    def modules(self) -> Iterator[nn.Module]:
        """Its modules with all that is inside them."""
        return (module for part in self.parts for module in part.modules())

    @property
    def ways(self) -> tuple[Way, ...]:
        """The ways that differ for it."""
        if not any(hasattr(module, "project_again") for module in self.modules):
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
    """The result of a segment, of which the backward pass, which must be the only one, keeps what `way` says.

    Its modules are told so until `tell` tells them otherwise, because the backward pass computes them again.
    """
    tell(one.modules, way)
    if way in (Way.KEEP, Way.PROJECT, Way.SINGLY):
        return one.function(*one.inputs)
    return again(one.function, *one.inputs, spare_attention=way is Way.SPARE)


def tell(modules: Iterable[nn.Module], way: Way | None) -> None:
    """Set the flags that say how modules compute in a segment, now and in its backward pass; None = outside of one.

    Blocks have `project_again` and `alone`; those whose backward can write over what it has read, `overwrite`.
    """
    for module in modules:
        if hasattr(module, "project_again"):
            module.project_again = way in (Way.PROJECT, Way.LEAST, Way.SINGLY)  # type: ignore[assignment]
            module.alone = way is Way.SINGLY  # type: ignore[assignment]
        if hasattr(module, "overwrite"):
            module.overwrite = way is not None  # type: ignore[assignment]


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
def recomputed(y: Tensor, function: Callable[[Tensor], Tensor], x: Tensor) -> Iterator[None]:
    """While active, autograd saves x in place of `y` and its views: function(x) gives y once more.

    Args:
        y: what operators inside save; nothing else may keep it.
        function: runs without gradients, under the autocast of now.
        x: saved in the way of the context around, for example as what checkpointing computes again.
    """
    # Autograd keeps both functions; what they hold would stay until the backward pass.
    source, key, kind = weakref.ref(x), y.untyped_storage()._cdata, x.device.type
    enabled, half = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
    # Hooks do not nest by themselves: those of the context around come first.
    pack_around, unpack_around = torch._C._autograd._top_saved_tensors_default_hooks(False) or (same, same)

    def pack(saved: Tensor) -> Any:
        if saved.untyped_storage()._cdata != key:
            return None, pack_around(saved)
        kept = source()
        assert kept is not None
        return (saved.shape, saved.stride(), saved.storage_offset()), pack_around(kept)

    def unpack(packed: Any) -> Tensor:
        view, kept = packed
        found = unpack_around(kept)
        if view is None:
            return found
        with torch.no_grad(), torch.autocast(kind, half, enabled):
            return function(found).as_strided(*view)

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        yield


def same(x: Tensor) -> Tensor:
    """x."""
    return x


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
        """While active, one forward pass and its backward pass are run."""
        ways, told = iter(self.ways), list[nn.Module]()

        def direct(one: Segment) -> Any:
            told.extend(one.modules)
            return compute(one, next(ways))

        try:
            with following(direct):
                yield
        finally:
            tell(told, None)
        assert next(ways, None) is None, "the model has fewer segments than the plan"
