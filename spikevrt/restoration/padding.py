"""Pads frames and spikes of any size to a size that the model takes, and crops the result.

H x W pixels of the frames, h x w spike pixels; `ratio` spike pixels per frame pixel along each axis.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from spikevrt.config.limits import MULTIPLE, least_side

LARGEST_STEP = 64
"""Padded sizes are not rounded to more than this only to suit the spike encoder."""


@dataclass(frozen=True)
class Padding:
    """Padding of frames from `size` (H,W) to `padded` (H,W) by mirroring at the bottom and the right."""

    size: tuple[int, int]
    padded: tuple[int, int]
    ratio: Fraction = Fraction(1)
    """Spike pixels per frame pixel along each axis; both sizes are whole numbers of spike pixels."""

    def frames(self, x: Tensor) -> Tensor:
        """Pad frames (...,H,W) of any dtype."""
        return mirrored(x, self.size, self.padded)

    def spikes(self, x: Tensor) -> Tensor:
        """Pad spikes (...,h,w) of any dtype by the same amount, in spike pixels."""
        return mirrored(x, self._in_spikes(self.size), self._in_spikes(self.padded))

    def crop(self, x: Tensor) -> Tensor:
        """Crop padded frames (...,H',W') back to (...,H,W)."""
        H, W = self.size
        return x[..., :H, :W]

    def _in_spikes(self, size: tuple[int, int]) -> tuple[int, int]:
        return int(size[0] * self.ratio), int(size[1] * self.ratio)


def plan_padding(size: tuple[int, int], window: Sequence[int], ratio: Fraction = Fraction(1)) -> Padding:
    """The smallest padding for frames of `size` (H,W).

    Args:
        size: size of the frames; a whole number of spike pixels.
        window: (T,h,w) attention window of the model.
        ratio: spike pixels per frame pixel; 1 without spikes.

    Returns:
        A padding whose sizes are multiples of 8, above 32, at least 8 windows, and whole numbers of spike pixels.

    Raises:
        ValueError: `size` is not a whole number of spike pixels.
    """
    if any(side % ratio.denominator for side in size):
        raise ValueError(f"frames of {size[0]}x{size[1]} end inside a spike pixel ({ratio} spike pixels per pixel)")
    step = padding_step(ratio)
    least = [max(side, least_side(w)) for side, w in zip(size, window[1:], strict=True)]
    H, W = (-(-side // step) * step for side in least)
    return Padding(size, (H, W), ratio)


def padding_step(ratio: Fraction) -> int:
    """Padded sizes are multiples of this many pixels: of 8, and of whole spike pixels."""
    whole = math.lcm(MULTIPLE, ratio.denominator)
    # The encoder halves the spikes' size three times; if it has to round, spikes and frames no longer align.
    aligned = math.lcm(MULTIPLE, ratio.denominator * (MULTIPLE // math.gcd(MULTIPLE, ratio.numerator)))
    return aligned if aligned <= LARGEST_STEP else whole


def mirrored(x: Tensor, size: tuple[int, int], padded: tuple[int, int]) -> Tensor:
    """Pad the last two axes from `size` to `padded` by mirroring."""
    if tuple(x.shape[-2:]) != size:
        raise ValueError(f"a picture of {tuple(x.shape[-2:])} where {size} was expected")
    for axis, (old, new) in zip((-2, -1), zip(size, padded, strict=True), strict=True):
        if new > old:
            x = x.index_select(axis, mirror_index(old, new).to(x.device))
    return x


def mirror_index(size: int, padded: int) -> Tensor:
    """(padded,) indices into an axis of length `size`: 0 .. size-1, then back and forth.

    The edge pixel is repeated, so that frames and spikes of different resolutions are mirrored at the same line. Any
    padded length works.
    """
    place = torch.arange(padded) % (2 * size)
    return torch.minimum(place, 2 * size - 1 - place)
