"""Window attention in plain PyTorch: the `naive` backend."""

import torch
from torch import Tensor

from spikevrt_kernels.core.precision import softmax_fp32
from spikevrt_kernels.window_attention.call import Call
from spikevrt_kernels.window_attention.windows import (
    Regions,
    padded_size,
    partition,
    region_mask,
    shift_regions,
    unpartition,
)


def window_attention_reference(call: Call) -> Tensor:
    """Window attention step by step, with every intermediate in memory; shapes as in `window_attention`."""
    qkv, offset, window, shift = call.qkv, call.offset, call.window, call.shift
    tokens = partition(qkv, window, shift)  # (B,nD,nH,nW,N,3C or 6C)
    regions = shift_regions(padded_size(call.size, window), window, shift, qkv.device) if any(shift) else None

    width = offset.shape[0]
    # With `added`, only padding still lacks its offsets.
    lacking = 1 - partition(torch.ones_like(qkv[..., :1]), window, shift) if call.added else 1
    own = tokens[..., :width] + lacking * offset.to(tokens.dtype)
    out = join_heads(attend(*split_qkv(own, call.heads), call.bias.gathered(tokens.shape[-2]), regions))
    if call.mutual_offset is not None:
        places = call.mutual_offset.shape[0]
        other = tokens[..., width:] + lacking * call.mutual_offset.to(tokens.dtype).repeat(2, 1)
        other = other.unflatten(-2, (2, places))
        out = torch.cat((mutual(other, call.heads, regions), out), -1)
    return unpartition(out, call.size, window, shift)


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, regions: Regions | None) -> Tensor:
    """softmax(q k^T + bias + mask) v in every window.

    Args:
        q: (B,nD,nH,nW,heads,N,E), scaled.
        k: (B,nD,nH,nW,heads,N,E).
        v: (B,nD,nH,nW,heads,N,E).
        bias: (heads,N,N) or None.
        regions: regions of a shifted map, or None if nothing is masked.

    Returns:
        (B,nD,nH,nW,heads,N,E).
    """
    scores = q @ k.transpose(-2, -1)
    if bias is not None:
        scores = scores + bias.to(scores.dtype)
    if regions is not None:
        scores = scores + region_mask(regions.ids, scores.dtype).unsqueeze(-3)
    return softmax_fp32(scores) @ v


def mutual(tokens: Tensor, heads: int, regions: Regions | None) -> Tensor:
    """(B,nD,nH,nW,2,n,3C) -> (B,nD,nH,nW,2n,C): each frame's queries attend the other frame's keys and values."""
    # Frames become part of the batch, so that (nD,nH,nW) stay in place for the regions.
    frames = tokens.movedim(4, 1).flatten(0, 1)  # (B*2,nD,nH,nW,n,3C)
    q, k, v = split_qkv(frames, heads)
    q = q.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)
    if regions is not None:
        # In the published model the first and the last frame attend each other across the cyclic wrap.
        regions = regions.within_frames(frames.shape[4])
    out = join_heads(attend(q, k, v, None, regions))  # (B*2,nD,nH,nW,n,C)
    return out.unflatten(0, (-1, 2)).movedim(1, 4).flatten(4, 5)


def split_qkv(tokens: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """(...,N,3C) -> scaled q, k, v, each (...,heads,N,E)."""
    q, k, v = tokens.unflatten(-1, (3, heads, -1)).movedim(-3, 0).transpose(-3, -2).unbind(0)
    return q * q.shape[-1] ** -0.5, k, v


def join_heads(x: Tensor) -> Tensor:
    """(...,heads,N,E) -> (...,N,heads*E)."""
    return x.transpose(-3, -2).flatten(-2)
