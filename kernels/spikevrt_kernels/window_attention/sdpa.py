"""Window attention with `scaled_dot_product_attention`, a number of windows at a time.

The tokens of a window are read from their places in the map, and the result is written to its place: there is no pad,
roll, partition or dense mask, and only the input and the output hold all windows. Training saves only the input: the
backward pass recomputes the probabilities, again a number of windows at a time. Therefore the bias can have a gradient
although the fused kernel takes it as a mask.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from spikevrt_kernels.core.backends import runs_on_cuda
from spikevrt_kernels.core.launch import repeatable
from spikevrt_kernels.core.precision import accumulation_dtype
from spikevrt_kernels.core.sdpa import attention_in_parts
from spikevrt_kernels.window_attention.call import Call
from spikevrt_kernels.window_attention.windows import (
    D_STEP,
    FRAMES,
    Cut,
    padded_size,
    region_mask,
    window_groups,
)

CPU_SCORES, CUDA_SCORES = 2**22, 2**26
"""Scores (windows * heads * N * N) at a time: 16 and 256 MiB of float32.

On a CPU, smaller numbers would cost more for calls than they gain in the cache."""


class Chunk(NamedTuple):
    """Windows that are computed together."""

    rows: Tensor
    """(windows,N) places of the tokens, as in `WindowGroup`."""
    masks: list[Tensor | None]
    """For each of `attentions`, what is added to its scores: (1,heads,N,N) or (n,n)."""


class Inputs(NamedTuple):
    """The differentiable inputs, in the form that the windows use."""

    qkv: Tensor
    """(B,D,H,W,3C or 6C) projections."""
    offsets: Tensor
    """(N,3C or 6C) for the places of a window."""
    bias: Tensor
    """(heads,N,N) position bias."""
    cut: Cut


def window_attention_sdpa(call: Call) -> Tensor:
    """The `sdpa` backend; shapes as in `window_attention`."""
    return WindowAttention.apply(*inputs_of(call))


def inputs_of(call: Call) -> Inputs:
    """The offsets of both branches side by side, and the gathered bias, in the type of qkv."""
    qkv, tokens = call.qkv, call.tokens(False)
    offsets = call.offset.expand(tokens, -1)
    if call.mutual_offset is not None:
        offsets = torch.cat((offsets, call.mutual_offset.repeat(FRAMES, 1)), -1)
    return Inputs(qkv, offsets.to(qkv.dtype), call.bias.gathered_once(tokens).to(qkv.dtype), call.cut)


class WindowAttention(torch.autograd.Function):
    """`Inputs` -> (B,D,H,W,C or 2C)."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, offsets: Tensor, bias: Tensor, cut: Cut) -> Tensor:
        ctx.save_for_backward(qkv, offsets, bias)
        ctx.cut = cut
        return attend(qkv, offsets, bias, cut)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        qkv, offsets, bias = ctx.saved_tensors
        return *differentiate(grad, qkv, offsets, bias, ctx.cut), None


@repeatable
def attend(qkv: Tensor, offsets: Tensor, bias: Tensor, cut: Cut) -> Tensor:
    """The forward pass of `WindowAttention`."""
    tokens = qkv.flatten(0, 3)
    width = tokens.shape[1] // 3
    out = tokens.new_empty(len(tokens) + 1, width)  # The results of padding go to the last row.
    for chunk in chunks(qkv, bias, cut):
        attend_chunk(out, tokens, qkv, offsets, chunk, cut)
    return out[:-1].view(*qkv.shape[:4], width)


@repeatable
def attend_chunk(out: Tensor, tokens: Tensor, qkv: Tensor, offsets: Tensor, chunk: Chunk, cut: Cut) -> None:
    """Write the results of some windows to their rows of `out`."""
    x = read_projections(tokens, chunk.rows, qkv, offsets, cut)
    y = x.new_empty(*x.shape[:2], out.shape[1])
    for qkv_views, slot, mask in zip(attentions(x, cut), results(y, cut), chunk.masks, strict=True):
        slot.copy_(attention_in_parts(*qkv_views, attn_mask=mask))
    out.index_copy_(0, chunk.rows.flatten(), y.flatten(0, 1))


@repeatable
def differentiate(grad: Tensor, qkv: Tensor, offsets: Tensor, bias: Tensor, cut: Cut) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of qkv, offsets and bias; sums over windows are in at least float32."""
    grads, tokens = grad.flatten(0, 3), qkv.flatten(0, 3)
    exact = accumulation_dtype(qkv.dtype)
    sums = Sums(
        tokens.new_empty(len(tokens) + 1, tokens.shape[1]),
        torch.zeros_like(offsets, dtype=exact),
        torch.zeros_like(bias, dtype=exact),
    )
    scratch: Tensor | None = None
    for chunk in chunks(qkv, bias, cut):
        if scratch is None or scratch.shape[1] < len(chunk.rows) * bias.numel():
            scratch = bias.new_empty(2, len(chunk.rows) * bias.numel(), dtype=exact)
        differentiate_chunk(sums, grads, tokens, qkv, offsets, chunk, cut, scratch)
    return sums.tokens[:-1].view(qkv.shape), sums.offsets.to(offsets.dtype), sums.bias.to(bias.dtype)


class Sums(NamedTuple):
    """Gradients, to which every chunk adds its own."""

    tokens: Tensor
    """(B*D*H*W+1,3C or 6C); the last row is that of padding."""
    offsets: Tensor
    bias: Tensor


@repeatable
def differentiate_chunk(
    sums: Sums,
    grads: Tensor,
    tokens: Tensor,
    qkv: Tensor,
    offsets: Tensor,
    chunk: Chunk,
    cut: Cut,
    scratch: Tensor,
) -> None:
    """Add the gradients of some windows to `sums`."""
    rows, exact = chunk.rows, sums.bias.dtype
    x = read_projections(tokens, rows, qkv, offsets, cut).to(exact)
    dy = read(grads, rows, qkv, cut).to(exact)
    dx = torch.empty_like(x)
    parts = zip(attentions(x, cut), attentions(dx, cut), results(dy, cut), chunk.masks, strict=True)
    for i, (qkv_views, d_views, slot, mask) in enumerate(parts):
        q = qkv_views[0]
        p, d_scores = scratch[:, : q[..., 0].numel() * q.shape[2]].view(2, *q.shape[:3], -1)
        attend_backward(qkv_views, d_views, slot, mask, p, d_scores)
        if i == 0:
            sums.bias.add_(d_scores[0] if len(rows) == 1 else d_scores.sum(0))
    sums.offsets.add_((dx * padding_of(rows, qkv) if cut.added else dx).sum(0))
    sums.tokens.index_copy_(0, rows.flatten(), dx.flatten(0, 1).to(sums.tokens.dtype))


@repeatable
def attend_backward(
    qkv: tuple[Tensor, ...],
    gradients: tuple[Tensor, ...],
    grad: Tensor,
    mask: Tensor | None,
    p: Tensor,
    d_scores: Tensor,
) -> None:
    """Backward pass of the attention in some windows.

    Args:
        qkv: q, k and v, each (windows,heads,N,E).
        gradients: three tensors of the same shape, written here.
        grad: (windows,heads,N,E), gradient of the result.
        mask: added to the scores, or None.
        p: (windows,heads,N,N), overwritten; memory from outside, because allocating it would cost more than the
            arithmetic.
        d_scores: (windows,heads,N,N), gradient of the scores, written here.
    """
    windows = p.shape[:2]
    q, k, v, grad, scores, d_flat = (x.flatten(0, 1) for x in (*qkv, grad, p, d_scores))  # (windows*heads,N,...)
    scale = q.shape[-1] ** -0.5
    q = q * scale
    torch.bmm(q, k.mT, out=scores)
    if mask is not None:
        p.add_(mask)
    torch.softmax(scores, -1, out=scores)
    torch.bmm(grad, v.mT, out=d_flat)
    # p (dp - sum of p dp) in one pass.
    torch.ops.aten._softmax_backward_data.out(d_flat, scores, -1, p.dtype, grad_input=d_flat)
    # With the narrow matrix on the left, BLAS takes half the time.
    for d_x, left, right in zip(gradients, (k, q, grad), (d_flat.mT, d_flat, scores), strict=True):
        d_x.copy_((left.mT @ right).mT.unflatten(0, windows))
    gradients[0].mul_(scale)


def chunks(qkv: Tensor, bias: Tensor, cut: Cut) -> Iterator[Chunk]:
    """All windows in chunks that share a mask and do not have too many scores."""
    B, D, H, W = qkv.shape[:4]
    budget = CUDA_SCORES if runs_on_cuda(qkv) else CPU_SCORES
    # torch.compile would unroll the loop, and it fuses the operations itself.
    most = B * D * H * W if torch.compiler.is_compiling() else max(1, budget // bias.numel())
    for rows, regions in window_groups(B, (D, H, W), cut.window, cut.shift, qkv.device):
        masks: list[Tensor | None] = [bias[None]]
        if regions is not None:
            masks = [bias[None] + region_mask(regions, bias.dtype)]
        if cut.mutual:
            # Only spatial regions are masked: in the published model the last and the first frame attend each other.
            places = rows.shape[1] // FRAMES
            apart = None if regions is None else region_mask(regions[:places] % D_STEP, bias.dtype)
            masks += [apart, apart]
        for part in rows.split(most):
            yield Chunk(part, masks)


def read(tokens: Tensor, rows: Tensor, qkv: Tensor, cut: Cut) -> Tensor:
    """Read the `rows` of tokens (B*D*H*W,...): (windows,N,...), zero where they are padding."""
    D, H, W = qkv.shape[1:4]
    if padded_size((D, H, W), cut.window) == (D, H, W):
        return tokens.index_select(0, rows.flatten()).unflatten(0, rows.shape)
    found = tokens.index_select(0, rows.flatten().clamp(max=len(tokens) - 1)).unflatten(0, rows.shape)
    return found.masked_fill_((rows == len(tokens)).unsqueeze(-1), 0)


def read_projections(tokens: Tensor, rows: Tensor, qkv: Tensor, offsets: Tensor, cut: Cut) -> Tensor:
    """Read the `rows` of qkv's tokens and add the offsets (N,3C or 6C) to those that lack them: (windows,N,...)."""
    x = read(tokens, rows, qkv, cut)
    return x.addcmul_(padding_of(rows, qkv), offsets) if cut.added else x.add_(offsets)


def padding_of(rows: Tensor, qkv: Tensor) -> Tensor:
    """(windows,N,1) in the type of qkv: 1 for padding, 0 for tokens of the map."""
    return (rows == qkv[..., 0].numel()).unsqueeze(-1).to(qkv.dtype)


def attentions(x: Tensor, cut: Cut) -> list[tuple[Tensor, ...]]:
    """Views of x (windows,N,3C or 6C): q, k and v (windows,heads,N,E) of self-attention, then of mutual attention.

    Mutual attention is the second frame's queries on the first frame's keys and values, then the reverse.
    """
    width = x.shape[-1] // 2 if cut.mutual else x.shape[-1]

    def split(part: Tensor) -> tuple[Tensor, ...]:
        return part.unflatten(-1, (3, cut.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)

    own = split(x[..., :width])
    if not cut.mutual:
        return [own]
    (q1, *kv1), (q2, *kv2) = (split(frame) for frame in x[..., width:].chunk(FRAMES, 1))
    return [own, (q2, *kv1), (q1, *kv2)]


def results(y: Tensor, cut: Cut) -> list[Tensor]:
    """Views (windows,heads,N,E) of y (windows,N,C or 2C): where the result of each of `attentions` belongs."""
    width = y.shape[-1] // 2 if cut.mutual else y.shape[-1]
    frames = y[..., :width].chunk(FRAMES, 1) if cut.mutual else ()
    return [part.unflatten(-1, (cut.heads, -1)).transpose(1, 2) for part in (y[..., -width:], *frames)]
