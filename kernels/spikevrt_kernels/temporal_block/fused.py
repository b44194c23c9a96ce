"""The registered operator of the `triton` backend: forward in one or two kernels, backward by recomputation in more."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from spikevrt_kernels.launches import draw_seed, flat_pixels, noting
from spikevrt_kernels.temporal_block.chunks import Chunking
from spikevrt_kernels.temporal_block.reference import BlockWeights

UNBOUNDED = 1 << 30


def unflatten(weights: Sequence[Tensor], cross: bool, dot: torch.dtype) -> BlockWeights:
    """The flat list of `flatten`, projections in the dots' type."""
    pairs = iter([(weights[i], weights[i + 1]) for i in range(0, len(weights), 2)])

    def projection() -> tuple[Tensor, Tensor]:
        weight, bias = next(pairs)
        return weight.to(dot), bias

    norm_q, norm_kv = next(pairs), next(pairs) if cross else None
    return BlockWeights(norm_q, norm_kv, projection(), projection(), next(pairs), projection(), projection())


def flatten(weights: BlockWeights) -> list[Tensor]:
    """Weights and biases in their order: 12 tensors, 14 with a norm of the context."""
    return [t.contiguous() for pair in weights if pair is not None for t in pair]


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
    """out (B,C,T,H,W); for the backward: o, statistics of x and of the context (empty in self-attention).

    Without `keep` there is no backward, and o is empty.
    """
    from spikevrt_kernels.temporal_block.launch import Call, forward_launches

    call = Call(x, context, unflatten(weights, context is not None, dot), heads, dropout_p, seed, max_pixels, dot)
    launches, out, o, stats_q, stats_kv = forward_launches(call, keep)
    for launch in launches.values():
        launch.run()
    return out, o, stats_q, stats_q.new_empty(0) if context is None else stats_kv


forward = torch.library.custom_op("spikevrt::temporal_block", run_forward, mutates_args=())


@forward.register_fake
def _(
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
    if noting():
        return run_forward(x, context, weights, heads, dropout_p, seed, max_pixels, dot, keep)
    B, _, T, H, W = x.shape
    acc = torch.promote_types(dot, torch.float32)
    stats = x.new_empty((2, B, T, H, W), dtype=acc)
    stats_kv = stats.new_empty(0 if context is None else (2, B, context.shape[2], H, W))
    return x.new_empty(x.shape), x.new_empty(x.shape if keep else 0, dtype=dot), stats, stats_kv


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
    """Gradients of x, of the context where there is one, and of every weight in the order of `flatten`."""
    from spikevrt_kernels.temporal_block.launch import Call
    from spikevrt_kernels.temporal_block.launch_backward import (
        Saved,
        attend_backward_launch,
        dy_launch,
        mlp_backward_launch,
        project_backward_launches,
    )

    cross = context is not None
    call = Call(x, context, unflatten(weights, cross, dot), heads, dropout_p, seed, max_pixels, dot)
    saved = Saved(o, stats_q, stats_kv if cross else stats_q)
    launch, dy, z, out_sums = dy_launch(call, saved, grad)
    launch.run()
    launch, mlp_sums = mlp_backward_launch(call, z, grad)
    launch.run()
    del z, launch
    launch, found = attend_backward_launch(call, saved, dy)
    launch.run()
    del dy
    norms, projections = [], []
    for launch, projection in project_backward_launches(call, saved, found):
        launch.run()
        dw, db, *norm = projection.gradients()
        norms.append(norm)
        projections.append((dw, db))
    inputs = [dx for dx in (found.dx, found.dcontext) if dx is not None]
    dwo, dbo, dgamma, dbeta = out_sums.gradients()
    dw1, dw2, db1, db2 = mlp_sums.gradients()
    in_proj = [torch.cat(parts) for parts in zip(*projections, strict=True)]
    gradients = [*chain(*norms), *in_proj, dwo.t(), dbo, dgamma, dbeta, dw1, db1, dw2.t(), db2]
    return inputs + [g.to(w.dtype).clone() for g, w in zip(gradients, weights, strict=True)]


backward = torch.library.custom_op("spikevrt::temporal_block_backward", run_backward, mutates_args=())


@backward.register_fake
def _(
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
    if noting():
        numbers = (heads, dropout_p, seed, max_pixels, dot)
        return run_backward(grad, x, context, weights, *numbers, o, stats_q, stats_kv)
    inputs = [x] if context is None else [x, context]
    return [t.new_empty(t.shape) for t in (*inputs, *weights)]


def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    """Keep the inputs, o and the statistics: 2.04 times the bytes of x, 3.08 with a context."""
    x, context, weights, *ctx.numbers, seed, ctx.max_pixels, ctx.dot, _ = inputs
    ctx.cross, ctx.dropout, ctx.weights = context is not None, seed is not None, len(weights)
    optional = [t for t in (context, seed) if t is not None]
    ctx.save_for_backward(x, *output[1:], *optional, *weights)
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)


def differentiate(ctx: Any, grad: Tensor | None, *_: Tensor | None) -> tuple[Any, ...]:
    """Gradients of `forward`'s arguments."""
    if grad is None:
        return None, None, [None] * ctx.weights, None, None, None, None, None, None
    # Unpacked once: checkpointing computes the block again for it.
    x, o, stats_q, stats_kv, *rest = ctx.saved_tensors
    context = rest.pop(0) if ctx.cross else None
    seed = rest.pop(0) if ctx.dropout else None
    heads, dropout_p = ctx.numbers
    found = backward(
        flat_pixels(grad), x, context, rest, heads, dropout_p, seed, ctx.max_pixels, ctx.dot, o, stats_q, stats_kv
    )
    inputs = found[: 1 + ctx.cross]
    return inputs[0], inputs[1] if ctx.cross else None, found[len(inputs) :], None, None, None, None, None, None


forward.register_autograd(differentiate, setup_context=setup_context)


def dot_type(x: Tensor) -> torch.dtype:
    """What autocast would multiply in, else the type of x."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def temporal_block_fused(
    x: Tensor, context: Tensor | None, weights: BlockWeights, heads: int, dropout_p: float, chunking: Chunking | None
) -> Tensor:
    """The block; shapes as `temporal_block`. MAX_BATCH_TOKENS / T bounds the pixels of a program."""
    frames = x.shape[2] if context is None else max(x.shape[2], context.shape[2])
    max_pixels = max(1, chunking.max_batch_tokens // frames if chunking else UNBOUNDED)
    seed = draw_seed(x.device) if dropout_p > 0 else None
    keys = None if context is None else flat_pixels(context.to(x.dtype))
    x, flat, dot = flat_pixels(x), flatten(weights), dot_type(x)
    leaves = [x, *flat] if keys is None else [x, keys, *flat]
    keep = torch.is_grad_enabled() and any(t.requires_grad for t in leaves)
    return forward(x, keys, flat, heads, dropout_p, seed, max_pixels, dot, keep)[0]
