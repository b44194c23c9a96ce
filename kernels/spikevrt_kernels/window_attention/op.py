"""The public function: VRT's window attention on whole feature maps, with a backend argument."""

import torch
from torch import Tensor

from spikevrt_kernels.backends import resolve_backend
from spikevrt_kernels.window_attention.fused import window_attention_fused
from spikevrt_kernels.window_attention.reference import Attend, attend_windows_reference
from spikevrt_kernels.window_attention.relative_bias import RelativeBias
from spikevrt_kernels.window_attention.sdpa import attend_windows_sdpa
from spikevrt_kernels.window_attention.windows import (
    Regions,
    Size3,
    padded_size,
    partition,
    shift_regions,
    unpartition,
)


def window_attention(
    qkv: Tensor,
    offset: Tensor,
    bias: RelativeBias,
    heads: int,
    window: Size3,
    shift: Size3,
    mutual_offset: Tensor | None = None,
    backend: str = "auto",
) -> Tensor:
    """Shifted-window self-attention, and VRT's mutual attention beside it given a `mutual_offset`.

    Padding tokens are zero before the projection and take part unmasked: their q, k, v are the offsets alone.
    Mutual attention (two frames a window): frame 1's slots take the attention of frame 2's queries on frame
    1's keys and values, and the other way round; no position bias, spatial regions only
    (VRT, Liang et al. 2022).

    Args:
        qkv: (B,D,H,W,3C), projections without their bias, ordered [q|k|v], each [head, dim]; with mutual
            attention (B,D,H,W,6C), self first.
        offset: (3C,) bias of the self projection.
        bias: relative-position bias: the table, and the window that it was made for.
        heads: divides C.
        window: (d,h,w), N = d*h*w tokens, no larger than (D,H,W) (see `effective_window`).
        shift: cyclic shift of each axis, below the window.
        mutual_offset: (h*w,3C) bias of the mutual projection at each place of a frame, or None.
        backend: auto, triton, sdpa or naive.

    Returns:
        (B,D,H,W,C), or (B,D,H,W,2C) ordered [mutual|self]; the type of qkv.

    Raises:
        BackendError: `backend` cannot run.
    """
    chosen = resolve_backend(backend, "window_attention", qkv, head_width=offset.shape[0] // (3 * heads))
    if chosen == "triton":
        return window_attention_fused(qkv, offset, bias, heads, window, shift, mutual_offset)
    attend = attend_windows_sdpa if chosen == "sdpa" else attend_windows_reference
    D, H, W = qkv.shape[1:4]
    size = (D, H, W)
    width = offset.shape[0]
    tokens = partition(qkv, window, shift)  # (B,nD,nH,nW,N,3C or 6C)
    regions = shift_regions(padded_size(size, window), window, shift, qkv.device) if any(shift) else None

    own = tokens[..., :width] + offset.to(tokens.dtype)
    out = join_heads(attend(*split_qkv(own, heads), bias.gathered(tokens.shape[-2]), regions))
    if mutual_offset is not None:
        places = mutual_offset.shape[0]
        other = tokens[..., width:].unflatten(-2, (2, places)) + mutual_offset.to(tokens.dtype)
        out = torch.cat((mutual(other, heads, regions, attend), out), -1)
    return unpartition(out, size, window, shift)


def mutual(tokens: Tensor, heads: int, regions: Regions | None, attend: Attend) -> Tensor:
    """(B,nD,nH,nW,2,n,3C) -> (B,nD,nH,nW,2n,C): each frame's queries on the other frame's keys and values."""
    # The frames join the batch, which leaves (nD,nH,nW) in place for the regions.
    frames = tokens.movedim(4, 1).flatten(0, 1)  # (B*2,nD,nH,nW,n,3C)
    q, k, v = split_qkv(frames, heads)
    q = q.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)
    if regions is not None:
        # The published model lets the first and the last frame attend each other across the cyclic wrap.
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
