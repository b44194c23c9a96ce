"""The registered operator of the `triton` backend: one or two forward kernels, and backward kernels that recompute."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from spikevrt_kernels.core.direct import differentiated, followed
from spikevrt_kernels.core.launch import draw_seed, flat_pixels, without_values
from spikevrt_kernels.core.precision import dot_type
from spikevrt_kernels.temporal_block.chunks import Chunking
from spikevrt_kernels.temporal_block.reference import BlockWeights
from spikevrt_kernels.temporal_block.triton.prepared import Prepared, flatten, prepare

if TYPE_CHECKING:
    from spikevrt_kernels.temporal_block.triton.launch import Call

UNBOUNDED = 1 << 30


class Numbers(NamedTuple):
    """Arguments of a call besides features and weights, in the operator's order."""

    heads: int
    dropout_p: float
    seed: Tensor | None
    """(1,) int64, or None without dropout."""
    max_pixels: int
    """Largest number of pixels per program."""
    dot: torch.dtype
    """Type of the inputs of matrix products."""


def call_of(x: Tensor, context: Tensor | None, prepared: Prepared, numbers: Numbers) -> "Call":
    """The record of a call, as its kernels take it."""
    from spikevrt_kernels.temporal_block.triton.launch import Call

    return Call(x, context, prepared.weights, *numbers, folded=prepared.folded)


def gradients(
    grad: Tensor,
    x: Tensor,
    context: Tensor | None,
    prepared: Prepared,
    weights: Sequence[Tensor],
    numbers: Numbers,
    saved: tuple[Tensor, Tensor, Tensor],
) -> list[Tensor]:
    """As `run_backward`; gradients of weights may be views of the same memory."""
    from spikevrt_kernels.temporal_block.triton.execution import Saved, run_backward_launches

    o, stats_q, stats_kv = saved
    kept = Saved(o, stats_q, stats_q if context is None else stats_kv)
    inputs, found = run_backward_launches(call_of(x, context, prepared, numbers), kept, grad)
    return inputs + [g if g.dtype == w.dtype else g.to(w.dtype) for g, w in zip(found, weights, strict=True)]


def run_forward(
    x: Tensor,
    context: Tensor | None,
    weights: Sequence[Tensor],
    heads: int,
    dropout_p: float,
    seed: Tensor | None,
    max_pixels: int,
    dot: torch.dtype,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """out (B,C,T,H,W); then, for the backward, o and statistics of x and of the context (empty in self-attention).

    Without `keep` there will be no backward pass, and o is empty.
    """
    from spikevrt_kernels.temporal_block.triton.execution import run_launches

    numbers = Numbers(heads, dropout_p, seed, max_pixels, dot)
    return run_launches(call_of(x, context, prepare(weights, dot), numbers), keep)


forward = torch.library.custom_op("spikevrt::temporal_block", run_forward, mutates_args=())


def like_forward(x: Tensor, context: Tensor | None, *others: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The outputs without values."""
    *_, dot, keep = others
    B, _, T, H, W = x.shape
    acc = torch.promote_types(dot, torch.float32)
    stats = x.new_empty((2, B, T, H, W), dtype=acc)
    stats_kv = stats.new_empty(0 if context is None else (2, B, context.shape[2], H, W))
    return x.new_empty(x.shape), x.new_empty(x.shape if keep else 0, dtype=dot), stats, stats_kv


forward.register_fake(without_values(run_forward, like_forward))


def run_backward(
    grad: Tensor,
    x: Tensor,
    context: Tensor | None,
    weights: Sequence[Tensor],
    heads: int,
    dropout_p: float,
    seed: Tensor | None,
    max_pixels: int,
    dot: torch.dtype,
    o: Tensor,
    stats_q: Tensor,
    stats_kv: Tensor,
) -> list[Tensor]:
    """Gradients of x, of the context if there is one, and of all weights in the order of `flatten`."""
    numbers = Numbers(heads, dropout_p, seed, max_pixels, dot)
    found = gradients(grad, x, context, prepare(weights, dot), weights, numbers, (o, stats_q, stats_kv))
    inputs = 1 if context is None else 2
    return found[:inputs] + [g.clone() for g in found[inputs:]]


backward = torch.library.custom_op("spikevrt::temporal_block_backward", run_backward, mutates_args=())


def like_backward(
    grad: Tensor, x: Tensor, context: Tensor | None, weights: Sequence[Tensor], *others: Any
) -> list[Tensor]:
    """The gradients without values."""
    inputs = [x] if context is None else [x, context]
    return [t.new_empty(t.shape) for t in (*inputs, *weights)]


backward.register_fake(without_values(run_backward, like_backward))


def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    """Save the inputs, o and the statistics: 2.04 times the bytes of x, or 3.08 with a context."""
    x, context, weights, ctx.heads, ctx.dropout_p, seed, ctx.max_pixels, ctx.dot, _ = inputs
    ctx.cross, ctx.dropout, ctx.weights = context is not None, seed is not None, len(weights)
    optional = [t for t in (context, seed) if t is not None]
    ctx.save_for_backward(x, *output[1:], *optional, *weights)
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)
    ctx.prepared = None


def differentiate(ctx: Any, grad: Tensor | None, *_: Tensor | None) -> tuple[Any, ...]:
    """Gradients of the arguments of `forward`."""
    if grad is None:
        return None, None, [None] * ctx.weights, None, None, None, None, None, None
    # Unpack saved tensors only once, because checkpointing recomputes the block for it.
    x, o, stats_q, stats_kv, *rest = ctx.saved_tensors
    context = rest.pop(0) if ctx.cross else None
    seed = rest.pop(0) if ctx.dropout else None
    numbers, grad = Numbers(ctx.heads, ctx.dropout_p, seed, ctx.max_pixels, ctx.dot), flat_pixels(grad)
    if ctx.prepared is None or torch.is_grad_enabled():
        found = backward(grad, x, context, rest, *numbers, o, stats_q, stats_kv)
    else:
        found = gradients(grad, x, context, ctx.prepared, rest, numbers, (o, stats_q, stats_kv))
    inputs = found[: 1 + ctx.cross]
    return inputs[0], inputs[1] if ctx.cross else None, found[len(inputs) :], None, None, None, None, None, None


forward.register_autograd(differentiate, setup_context=setup_context)


class Direct(torch.autograd.Function):
    """The same operator, called without PyTorch's dispatcher; the backward takes the forward's prepared weights."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, context: Tensor | None, numbers: Numbers, *weights: Tensor) -> tuple[Tensor, ...]:
        from spikevrt_kernels.temporal_block.triton.execution import run_launches

        prepared = prepare(weights, numbers.dot)
        output = run_launches(call_of(x, context, prepared, numbers), True)
        setup_context(ctx, (x, context, weights, *numbers, True), output)
        ctx.prepared = prepared
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        dx, dcontext, dweights, *_ = differentiate(ctx, *grads)
        return dx, dcontext, None, *dweights


def temporal_block_fused(
    x: Tensor, context: Tensor | None, weights: BlockWeights, heads: int, dropout_p: float, chunking: Chunking | None
) -> Tensor:
    """The block as fused kernels; shapes as in `temporal_block`. MAX_BATCH_TOKENS / T limits the pixels per program."""
    frames = x.shape[2] if context is None else max(x.shape[2], context.shape[2])
    max_pixels = max(1, chunking.max_batch_tokens // frames if chunking else UNBOUNDED)
    seed = draw_seed(x.device) if dropout_p > 0 else None
    keys = None if context is None else flat_pixels(context.to(x.dtype))
    x, flat = flat_pixels(x), flatten(weights)
    numbers = Numbers(heads, dropout_p, seed, max_pixels, dot_type(x))
    keep = differentiated(x, keys, *flat)
    if followed(x, keys, *flat):
        return forward(x, keys, flat, *numbers, keep)[0]
    if keep:
        return Direct.apply(x, keys, numbers, *flat)[0]
    return without_gradients(x, keys, flat, numbers)


def without_gradients(x: Tensor, context: Tensor | None, weights: Sequence[Tensor], numbers: Numbers) -> Tensor:
    """The block without gradients, called without PyTorch's dispatcher."""
    from spikevrt_kernels.temporal_block.triton.execution import run_launches

    with torch.no_grad():
        return run_launches(call_of(x, context, prepare(weights, numbers.dot), numbers), False)[0]
