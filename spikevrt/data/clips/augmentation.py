"""Crops, flips, quarter turns and time reversal, applied to frames and voxels together.

T frames of H x W pixels, K bins of h x w spike pixels.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikevrt.config.limits import LEAST_PIXELS, MULTIPLE
from spikevrt.errors import UserError

Crop = tuple[int, int, int, int]
"""(top, left, height, width)."""


class Grid(NamedTuple):
    """How the pixel grids of frames and spikes are related."""

    step: int = 1
    """Smallest step in RGB pixels that is a whole number of spike pixels."""
    ratio: Fraction = Fraction(1)
    """Spike pixels per RGB pixel, along each axis."""

    @classmethod
    def of(cls, frame: tuple[int, int], spikes: tuple[int, int]) -> "Grid":
        """The grid of frames (H,W) and spikes (h,w) that show the same view.

        Raises:
            UserError: their aspect ratios differ.
        """
        ratio, other = Fraction(spikes[0], frame[0]), Fraction(spikes[1], frame[1])
        if ratio != other:
            swapped = Fraction(spikes[1], frame[0]) == Fraction(spikes[0], frame[1])
            remedy = (
                f"height and width look swapped, set DATA.SPIKE_HEIGHT={spikes[1]} DATA.SPIKE_WIDTH={spikes[0]}"
                if swapped
                else "check DATA.SPIKE_HEIGHT, DATA.SPIKE_WIDTH or config.yaml, or crop the frames to the spikes' view"
            )
            raise UserError(
                f"frames of {frame[0]}x{frame[1]} and spikes of {spikes[0]}x{spikes[1]} differ in shape: {remedy}"
            )
        return cls(ratio.denominator, ratio)


def check_crop(size: int, frame: tuple[int, int], step: int, name: str = "DATA.CROP_SIZE =") -> None:
    """Raise a `UserError` for a crop that is larger than the frames or ends inside a spike pixel.

    The message calls the size `name`, as the user does.
    """
    if size > min(frame):
        multiple = math.lcm(step, MULTIPLE)
        most = min(frame) // multiple * multiple
        remedy = f"choose at most {most}" if most >= LEAST_PIXELS else "larger frames are needed"
        raise UserError(f"{name} {size}: larger than the frames of {frame[0]}x{frame[1]}; {remedy}")
    if size % step:
        raise UserError(f"{name} {size}: must be a multiple of {step}, so that crops end on whole spike pixels")


def random_crop(size: int, frame: tuple[int, int], step: int, random: np.random.Generator) -> Crop:
    """A random square crop of `size` RGB pixels; its corner is at multiples of `step`."""
    check_crop(size, frame, step)
    top, left = (int(random.integers(0, (s - size) // step + 1)) * step for s in frame)
    return top, left, size, size


def centre_crop(size: int, frame: tuple[int, int], step: int, name: str = "DATA.CROP_SIZE =") -> Crop:
    """The square crop nearest to the centre with its corner at multiples of `step`; `name` as in `check_crop`."""
    check_crop(size, frame, step, name)
    top, left = ((s - size) // 2 // step * step for s in frame)
    return top, left, size, size


def scaled(crop: Crop, ratio: Fraction) -> Crop:
    """The crop in spike pixels."""
    top, left, h, w = (int(v * ratio) for v in crop)
    return top, left, h, w


def cut(image: NDArray[np.uint8], crop: Crop, size: tuple[int, int], name: object) -> NDArray[np.uint8]:
    """Crop a frame (H,W,3), which must have its clip's `size`; error messages call it `name`."""
    require_size(image.shape[:2], size, name)
    top, left, h, w = crop
    return image[top : top + h, left : left + w]


def require_size(found: tuple[int, ...], size: tuple[int, int], name: object) -> None:
    """Raise a `UserError` for a frame of another size (H,W) than its clip's `size`; the message calls it `name`."""
    if found != size:
        raise UserError(
            f"{name}: {found[0]}x{found[1]} pixels, the clip's first frame {size[0]}x{size[1]}; "
            "all frames of a clip must have one size"
        )


@dataclass(frozen=True)
class Flips:
    """The symmetries that are applied to a sample."""

    horizontal: bool = False
    vertical: bool = False
    quarter_turn: bool = False
    reverse_time: bool = False

    @classmethod
    def draw(cls, random: np.random.Generator) -> "Flips":
        """Draw each symmetry with probability 1/2."""
        return cls(*(bool(b) for b in random.integers(0, 2, 4)))

    def in_space(self, x: NDArray) -> NDArray:
        """Flip, then turn an array (...,H,W)."""
        if self.horizontal:
            x = x[..., ::-1]
        if self.vertical:
            x = x[..., ::-1, :]
        return x.swapaxes(-1, -2)[..., ::-1] if self.quarter_turn else x

    def frames(self, x: NDArray) -> NDArray:
        """Apply all symmetries to frames (T,3,H,W)."""
        x = self.in_space(x)
        return x[::-1] if self.reverse_time else x

    def voxels(self, counts: NDArray, bin_frames: NDArray) -> tuple[NDArray, NDArray]:
        """Apply all to counts (T,K,h,w) and spike frames per bin (T,K); time reversal also reverses the bins."""
        counts = self.in_space(counts)
        if self.reverse_time:
            return counts[::-1, ::-1], bin_frames[::-1, ::-1]
        return counts, bin_frames
