"""How papers compare restored with sharp frames: in which colours, rounded or not, and what is averaged."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

BYTE = 255
LUMA = (65.481, 128.553, 24.966)
"""Y of BT.601 in [16,235] from RGB in [0,1]."""
BLACK = 16


def as_they_are(picture: Tensor) -> Tensor:
    """Floats in [0,1] without rounding."""
    return picture


def rounded(picture: Tensor) -> Tensor:
    """What a file of 8 bits holds, in [0,1]."""
    return (picture.clamp(0, 1) * BYTE).round() / BYTE


def luma(picture: Tensor) -> Tensor:
    """(3,H,W) or (1,H,W) in [0,1], rounded to 8 bits -> its Y (1,H,W), which is not rounded, in [16/255,235/255]."""
    x = rounded(picture).expand(len(LUMA), -1, -1)
    weighted = sum((weight * channel for weight, channel in zip(LUMA, x, strict=True)), BLACK + 0 * x[0])
    return weighted[None] / BYTE


class Protocol(NamedTuple):
    """A way to compare."""

    prepare: Callable[[Tensor], Tensor]
    """A picture (3,H,W) or (1,H,W) in [0,1] -> what is compared."""
    colours: str
    """What the titles of columns say."""
    over_clips: bool
    """Whether a mean over all clips weighs clips equally, otherwise frames."""
    about: str

    def text(self, border: int) -> str:
        """All of it in one line."""
        edge = f"{border} pixels of border left out" if border else "no border"
        return f"{self.about}, {edge}, mean over {'clips' if self.over_clips else 'frames'}"


PROTOCOLS = {
    "rgb-float": Protocol(as_they_are, "RGB", False, "RGB, float in [0, 1] without rounding"),
    "y-uint8": Protocol(luma, "Y", False, "Y of BT.601, of RGB rounded to 8 bits"),
    "kair-gopro": Protocol(rounded, "RGB", True, "RGB rounded to 8 bits"),
}
"""By their names in TEST.PROTOCOL."""
