"""The registered operator of the `triton` backend: one forward kernel per branch; the backward uses its lse."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from spikevrt_kernels.core.precision import accumulation_dtype
from spikevrt_kernels.core.registered import Registered
from spikevrt_kernels.window_attention.call import Call
from spikevrt_kernels.window_attention.relative_bias import RelativeBias
from spikevrt_kernels.window_attention.windows import Size3


def size3(sizes: Sequence[int]) -> Size3:
    """(d,h,w) from a list, which is what registered operators take."""
    d, h, w = sizes
    return d, h, w


def call_of(
    qkv: Tensor,
    offset: Tensor,
    table: Tensor,
    mutual_offset: Tensor | None,
    heads: int,
    window: Sequence[int],
    shift: Sequence[int],
    configured: Sequence[int],
    added: bool,
) -> Call:
    """The record of a call, from tensors, numbers and lists, which are what registered operators take."""
    bias = RelativeBias(table, size3(configured))
    return Call(qkv, offset, bias, heads, size3(window), size3(shift), mutual_offset, added=added)


def run_forward(
    qkv: Tensor,
    offset: Tensor,
    table: Tensor,
    mutual_offset: Tensor | None,
    heads: int,
    window: Sequence[int],
    shift: Sequence[int],
    configured: Sequence[int],
    added: bool = False,
) -> tuple[Tensor, Tensor]:
    """out (B,D,H,W,C or 2C); then, for the backward, the logs of the softmax's sums (1 or 2,B,heads,D,H,W)."""
    from spikevrt_kernels.window_attention.triton.launch import forward_launches

    call = call_of(qkv, offset, table, mutual_offset, heads, window, shift, configured, added)
    launches, out, lse = forward_launches(call)
    for launch in launches:
        launch.run()
    return out, lse


def like_forward(
    qkv: Tensor, offset: Tensor, table: Tensor, mutual_offset: Tensor | None, heads: int, *windows: Any
) -> tuple[Tensor, Tensor]:
    """The outputs without values."""
    B, D, H, W, _ = qkv.shape
    branches = 1 if mutual_offset is None else 2
    out = qkv.new_empty((B, D, H, W, branches * (offset.shape[0] // 3)))
    return out, qkv.new_empty((branches, B, heads, D, H, W), dtype=accumulation_dtype(qkv.dtype))


def run_backward(
    grad: Tensor,
    qkv: Tensor,
    offset: Tensor,
    table: Tensor,
    mutual_offset: Tensor | None,
    heads: int,
    window: Sequence[int],
    shift: Sequence[int],
    configured: Sequence[int],
    added: bool,
    out: Tensor,
    lse: Tensor,
) -> list[Tensor]:
    """Gradients of qkv, offset, table and, if there is one, of the mutual offset."""
    from spikevrt_kernels.window_attention.triton.launch import (
        Saved,
        bias_launch,
        key_launch,
        mutual_launch,
        offset_gradient,
        query_launch,
        table_launch,
    )

    call = call_of(qkv, offset, table, mutual_offset, heads, window, shift, configured, added)
    saved, dqkv = Saved(out, lse, grad), qkv.new_empty(qkv.shape)
    launch, bias = bias_launch(call, "query_backward", "key_backward")
    launch.run()
    launch, of_queries = query_launch(call, bias, saved, dqkv)
    launch.run()
    launch, of_keys = key_launch(call, bias, saved, of_queries.delta, dqkv)
    launch.run()
    launch, dtable = table_launch(call, of_queries.ds.sum(0))
    launch.run()
    gradients = [dqkv, offset_gradient(call, of_queries.offset, of_keys), dtable]
    if mutual_offset is not None:
        launch, sums = mutual_launch(call, saved, dqkv)
        launch.run()
        gradients.append(sums.sum(0).to(mutual_offset.dtype))
    return gradients


def like_backward(grad: Tensor, *others: Any) -> list[Tensor]:
    """The gradients without values."""
    inputs = others[:4]  # qkv, offset, table, mutual_offset
    return [t.new_empty(t.shape) for t in inputs if t is not None]


def save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    """Save inputs, output (which the projection after it keeps anyway) and logs, but no probabilities."""
    *tensors, ctx.heads, ctx.window, ctx.shift, ctx.configured, ctx.added = inputs
    ctx.save_for_backward(*tensors, *output)
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)


def differentiate(
    ctx: Any, run: Callable[..., list[Tensor]], grad: Tensor | None, _: Tensor | None
) -> tuple[Tensor | None, ...]:
    """Gradients of the arguments of `run_forward`."""
    rest = (None,) * 5
    if grad is None:
        return None, None, None, None, *rest
    *inputs, out, lse = ctx.saved_tensors
    sizes = ctx.heads, ctx.window, ctx.shift, ctx.configured
    found = run(grad.contiguous(), *inputs, *sizes, ctx.added, out, lse)
    return found[0], found[1], found[2], found[3] if len(found) > 3 else None, *rest


REGISTERED = Registered("window_attention", run_forward, run_backward, like_forward, like_backward, save, differentiate)


def window_attention_fused(call: Call) -> Tensor:
    """Window attention with one kernel per branch; shapes as in `window_attention`."""
    places = None if call.mutual_offset is None else call.mutual_offset.contiguous()
    tensors = (call.qkv.contiguous(), call.offset.contiguous(), call.bias.table.contiguous(), places)
    out, _ = REGISTERED(*tensors, call.heads, call.window, call.shift, call.bias.window, call.added)
    return out
