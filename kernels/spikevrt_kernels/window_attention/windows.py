"""Windows: sizes, partition, and the regions that a cyclic shift keeps apart.

D frames, H x W pixels, window (d,h,w), N = d*h*w tokens in order d, h, w.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

Size3 = tuple[int, int, int]
H_STEP, D_STEP = 3, 9
"""A region id is the base-3 number of the regions along d, h, w."""


class Regions(NamedTuple):
    """Which tokens of a shifted extent may attend each other."""

    ids: Tensor
    """(nD,nH,nW,N) region of every token; an axis of size 1 stands for all its windows."""
    axes: tuple[int, ...]
    """The shifted axes of `ids` (0, 1, 2): only the last window of a shifted axis holds several regions."""

    def within_frames(self, places: int) -> "Regions":
        """Spatial regions alone, of the `places` tokens of one frame."""
        return Regions(self.ids[:1, ..., :places] % D_STEP, tuple(a for a in self.axes if a > 0))


def effective_window(size: Size3, window: Size3, shift: Size3) -> tuple[Size3, Size3]:
    """Window and shift that apply to an extent: an axis no longer than its window is one unshifted window."""
    fits = [s <= w for s, w in zip(size, window, strict=True)]
    d, h, w = (min(s, w) for s, w in zip(size, window, strict=True))
    sd, sh, sw = (0 if f else s for f, s in zip(fits, shift, strict=True))
    return (d, h, w), (sd, sh, sw)


def padded_size(size: Size3, window: Size3) -> Size3:
    """`size` rounded up to whole windows."""
    d, h, w = (-(-s // w) * w for s, w in zip(size, window, strict=True))
    return d, h, w


def partition(x: Tensor, window: Size3, shift: Size3) -> Tensor:
    """(B,D,H,W,C) -> (B,nD,nH,nW,N,C): padded with zeros at the end of each axis, rolled by -shift, cut."""
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
    """The inverse of `partition`: (B,nD,nH,nW,N,C) -> (B,D,H,W,C), padding cropped."""
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
    """Regions of every token of an extent of `size` (a multiple of `window`), after the shift."""
    d, h, w = (axis_regions(s, n, m, device) for s, n, m in zip(size, window, shift, strict=True))
    ids = D_STEP * d[:, None, None] + H_STEP * h[:, None] + w
    windows = partition(ids[None, ..., None], window, (0, 0, 0))[0, ..., 0]
    return Regions(windows, tuple(axis for axis in range(3) if shift[axis]))
