"""Attention inside windows through `scaled_dot_product_attention`.

A shift masks only the last windows of each axis, and windows that are last on the same axes share one mask:
at most eight calls with a mask of (heads,N,N) take the place of one with a mask for every window.
"""

import torch
from torch import Tensor

from spikevrt_kernels.sdpa_parts import attention_in_parts
from spikevrt_kernels.window_attention.reference import region_mask
from spikevrt_kernels.window_attention.windows import Regions


def attend_windows_sdpa(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, regions: Regions | None) -> Tensor:
    """softmax(q k^T + bias + mask) v in every window; arguments as `attend_windows_reference`."""
    if regions is None:
        return attend(q, k, v, bias, None)
    return split_last(q, k, v, bias, regions, masked=False)


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, ids: Tensor | None) -> Tensor:
    """One call for windows that share a mask: ids (N,) are their regions, or None where nothing is masked."""
    mask = None if bias is None else bias.to(q.dtype)[None]  # (1,heads,N,N)
    if ids is not None:
        blocked = region_mask(ids, q.dtype)
        mask = blocked.expand(1, 1, -1, -1) if mask is None else mask + blocked
    windows = q.shape[:4]
    q, k, v = (x.flatten(0, 3) for x in (q, k, v))  # (windows,heads,N,E)
    return attention_in_parts(q, k, v, attn_mask=mask, scale=1.0).unflatten(0, windows)


def split_last(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, regions: Regions, masked: bool) -> Tensor:
    """Attention on the last windows of every shifted axis and on the others apart.

    `masked` says that an axis split before was cut to its last window.
    """
    if not regions.axes:
        return attend(q, k, v, bias, regions.ids[0, 0, 0] if masked else None)
    axis, *rest = regions.axes
    others = q.shape[axis + 1] - 1
    parts = []
    for start, length in ((0, others), (others, 1)):
        part_q, part_k, part_v = (x.narrow(axis + 1, start, length) for x in (q, k, v))
        part = Regions(regions.ids.narrow(axis, start, length), tuple(rest))
        parts.append(split_last(part_q, part_k, part_v, bias, part, masked or start == others))
    return torch.cat(parts, axis + 1)
