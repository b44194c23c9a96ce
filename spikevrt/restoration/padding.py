"""Any frame size made one that the model takes, spikes in register, and cropped back afterwards.

H x W pixels of the frames, h x w spike pixels; one axis of the spikes has `ratio` pixels for each of the frames.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from spikevrt.config.limits import MULTIPLE, least_side

LARGEST_STEP = 64
"""Padding grows no coarser than this only to please the spike encoder."""


@dataclass(frozen=True)
class Padding:
    """Frames of `size` (H,W) grown to `padded` (H,W) at the bottom and the right by mirroring."""

    size: tuple[int, int]
    padded: tuple[int, int]
    ratio: Fraction = Fraction(1)
    """Spike pixels per frame pixel along each axis; both sizes hold whole spike pixels."""

    def frames(self, x: Tensor) -> Tensor:
        """(...,H,W) of any dtype -> the padded size."""
        return mirrored(x, self.size, self.padded)

    def spikes(self, x: Tensor) -> Tensor:
        """(...,h,w) of any dtype -> the padded size in spike pixels."""
        return mirrored(x, self._in_spikes(self.size), self._in_spikes(self.padded))

    def crop(self, x: Tensor) -> Tensor:
        """(...,H',W') of the padded frames -> (...,H,W)."""
        H, W = self.size
        return x[..., :H, :W]

    def _in_spikes(self, size: tuple[int, int]) -> tuple[int, int]:
        return int(size[0] * self.ratio), int(size[1] * self.ratio)


def plan_padding(size: tuple[int, int], window: Sequence[int], ratio: Fraction = Fraction(1)) -> Padding:
    """The smallest padding for frames of `size` (H,W).

    Args:
        size: of the frames; whole in spike pixels.
        window: (T,h,w) of the model's attention.
        ratio: spike pixels per frame pixel; 1 where there are no spikes.

    Returns:
        Sizes that are multiples of 8 above 32, at least 8 windows, and whole in spike pixels.

    Raises:
        ValueError: `size` is not whole in spike pixels.
    """
    if any(side % ratio.denominator for side in size):
        raise ValueError(f"frames of {size[0]}x{size[1]} end inside a spike pixel ({ratio} spike pixels per pixel)")
    step = padding_step(ratio)
    least = [max(side, least_side(w)) for side, w in zip(size, window[1:], strict=True)]
    H, W = (-(-side // step) * step for side in least)
    return Padding(size, (H, W), ratio)


def padding_step(ratio: Fraction) -> int:
    """Padded sizes are multiples of this: 8 pixels, and whole spike pixels."""
    whole = math.lcm(MULTIPLE, ratio.denominator)
    # The encoder halves the spikes three times; a size that it must round shifts them against the frames.
    aligned = math.lcm(MULTIPLE, ratio.denominator * (MULTIPLE // math.gcd(MULTIPLE, ratio.numerator)))
    return aligned if aligned <= LARGEST_STEP else whole


def mirrored(x: Tensor, size: tuple[int, int], padded: tuple[int, int]) -> Tensor:
    """Grow the last two axes from `size` to `padded`."""
    if tuple(x.shape[-2:]) != size:
        raise ValueError(f"a picture of {tuple(x.shape[-2:])} where {size} was expected")
    for axis, (old, new) in zip((-2, -1), zip(size, padded, strict=True), strict=True):
        if new > old:
            x = x.index_select(axis, mirror_index(old, new).to(x.device))
    return x


def mirror_index(size: int, padded: int) -> Tensor:
    """(padded,) source of every place: 0 .. size-1, then back and forth.

    The edge is repeated, so that pictures of two resolutions are mirrored at the same line; any length works.
    """
    place = torch.arange(padded) % (2 * size)
    return torch.minimum(place, 2 * size - 1 - place)
