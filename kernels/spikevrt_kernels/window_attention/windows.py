"""Attention windows: their sizes, partition, and the regions that stay separate after a cyclic shift.

D frames, H x W pixels, window (d,h,w), N = d*h*w tokens in order d, h, w.
"""

from functools import lru_cache
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

Size3 = tuple[int, int, int]
H_STEP, D_STEP = 3, 9
"""The id of a region is a base-3 number of its regions along d, h and w."""
FRAMES = 2
"""Number of frames in a window with mutual attention."""
KEPT = 512
"""Number of map and window sizes whose counts are kept; a model has some tens per clip size."""
MASKED = -100.0
"""Added to the score of two tokens in different regions (finite, as in the training of the published weights)."""


class Cut(NamedTuple):
    """How a feature map is divided into windows."""

    heads: int
    window: Size3
    shift: Size3
    mutual: bool
    """Whether the two frames of a window attend each other, in addition to self-attention."""
    added: bool = False
    """Whether all tokens but padding hold the offsets already."""


class Regions(NamedTuple):
    """The regions of a shifted map; only tokens of the same region may attend each other."""

    ids: Tensor
    """(nD,nH,nW,N) region of every token; an axis of size 1 stands for all windows along it."""
    axes: tuple[int, ...]
    """The shifted axes of `ids` (0, 1, 2); only the last window along a shifted axis holds several regions."""

    def within_frames(self, places: int) -> "Regions":
        """The spatial regions of the `places` tokens of one frame."""
        return Regions(self.ids[:1, ..., :places] % D_STEP, tuple(a for a in self.axes if a > 0))


class WindowGroup(NamedTuple):
    """Windows that share one mask."""

    rows: Tensor
    """(windows,N) int64 place of every token among the B*D*H*W places of the map; B*D*H*W itself means padding."""
    regions: Tensor | None
    """(N,) region of every token, or None if nothing is masked."""


def effective_window(size: Size3, window: Size3, shift: Size3) -> tuple[Size3, Size3]:
    """The window and shift that apply to a map: along a short axis there is one window, without a shift."""
    fits = [s <= w for s, w in zip(size, window, strict=True)]
    d, h, w = (min(s, w) for s, w in zip(size, window, strict=True))
    sd, sh, sw = (0 if f else s for f, s in zip(fits, shift, strict=True))
    return (d, h, w), (sd, sh, sw)


def padded_size(size: Size3, window: Size3) -> Size3:
    """`size`, rounded up to whole windows."""
    d, h, w = (-(-s // w) * w for s, w in zip(size, window, strict=True))
    return d, h, w


@lru_cache(maxsize=KEPT)
def window_counts(size: Size3, window: Size3) -> Size3:
    """Number of windows along each axis, including those with padding."""
    d, h, w = (-(-s // n) for s, n in zip(size, window, strict=True))
    return d, h, w


def partition(x: Tensor, window: Size3, shift: Size3) -> Tensor:
    """(B,D,H,W,C) -> (B,nD,nH,nW,N,C): pad with zeros at the end of each axis, roll by -shift, partition."""
    B, D, H, W, C = x.shape
    pd, ph, pw = padded_size((D, H, W), window)
    if (pd, ph, pw) != (D, H, W):
        x = F.pad(x, (0, 0, 0, pw - W, 0, ph - H, 0, pd - D))
    if any(shift):
        x = x.roll([-s for s in shift], (1, 2, 3))
    d, h, w = window
    x = x.view(B, pd // d, d, ph // h, h, pw // w, w, C).permute(0, 1, 3, 5, 2, 4, 6, 7)
    return x.reshape(B, pd // d, ph // h, pw // w, d * h * w, C)


def unpartition(x: Tensor, size: Size3, window: Size3, shift: Size3) -> Tensor:
    """The inverse of `partition`: (B,nD,nH,nW,N,C) -> (B,D,H,W,C), without padding."""
    B, nD, nH, nW, _, C = x.shape
    d, h, w = window
    x = x.view(B, nD, nH, nW, d, h, w, C).permute(0, 1, 4, 2, 5, 3, 6, 7)
    x = x.reshape(B, nD * d, nH * h, nW * w, C)
    if any(shift):
        x = x.roll(list(shift), (1, 2, 3))
    D, H, W = size
    return x[:, :D, :H, :W]


def axis_regions(length: int, window: int, shift: int, device: torch.device) -> Tensor:
    """(length,) region of every place of a rolled axis: [0,S-w) 0, [S-w,S-s) 1, [S-s,S) 2; all 0 if s = 0."""
    place = torch.arange(length, device=device)
    if shift == 0:
        return torch.zeros_like(place)
    return (place >= length - window).long() + (place >= length - shift).long()


def shift_regions(size: Size3, window: Size3, shift: Size3, device: torch.device) -> Regions:
    """Regions of every token in a shifted map of `size` (a multiple of `window`)."""
    d, h, w = (axis_regions(s, n, m, device) for s, n, m in zip(size, window, shift, strict=True))
    ids = D_STEP * d[:, None, None] + H_STEP * h[:, None] + w
    windows = partition(ids[None, ..., None], window, (0, 0, 0))[0, ..., 0]
    return Regions(windows, tuple(axis for axis in range(3) if shift[axis]))


def region_mask(ids: Tensor, dtype: torch.dtype) -> Tensor:
    """(...,N) region ids -> (...,N,N): 0 for equal regions, -100 for different ones."""
    different = ids[..., :, None] != ids[..., None, :]
    return torch.zeros(different.shape, dtype=dtype, device=ids.device).masked_fill_(different, MASKED)


def last_regions(last: tuple[bool, ...], window: Size3, shift: Size3, device: torch.device) -> Tensor | None:
    """(N,) regions of a window that is or is not the `last` along each axis; None if it holds a single region."""
    if not any(last):
        return None
    lengths = [s if cut else 0 for s, cut in zip(shift, last, strict=True)]
    d, h, w = (axis_regions(n, n, s, device) for n, s in zip(window, lengths, strict=True))
    return (D_STEP * d[:, None, None] + H_STEP * h[:, None] + w).flatten()


def window_groups(batch: int, size: Size3, window: Size3, shift: Size3, device: torch.device) -> list[WindowGroup]:
    """All windows of a shifted map, as places of their tokens, grouped by the mask that they need.

    A shift affects only the last windows along its axes, and windows that are last along the same axes share one mask.
    There are at most eight groups, and most windows are in the group without a mask.
    """
    total = batch * size[0] * size[1] * size[2]
    places = torch.arange(-total, 0, device=device).view(batch, *size, 1)
    rows = partition(places, window, shift)[..., 0] + total  # (B,nD,nH,nW,N)
    groups = []
    for last in product(*((False, True) if s else (False,) for s in shift)):
        part = rows
        for axis, cut in enumerate(last):
            if shift[axis]:
                others = rows.shape[axis + 1] - 1
                part = part.narrow(axis + 1, others, 1) if cut else part.narrow(axis + 1, 0, others)
        if part.numel():
            groups.append(WindowGroup(part.flatten(0, 3), last_regions(last, window, shift, device)))
    return groups
