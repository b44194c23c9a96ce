"""How the numbers of a video become colours: its matrix, range, primaries and transfer, in FFmpeg's numbers."""

from dataclasses import dataclass, replace
from typing import Any

UNTAGGED = 2
"""Matrix, primaries or transfer that a file says nothing about."""
BT709 = 1
"""BT.709 as matrix, primaries and transfer."""
BT601 = 5
"""BT.601 as matrix."""
LIMITED, FULL = 1, 2
"""The ranges 16 to 235, and 0 to 255."""
RGB = 0
"""The matrix of a video that stores RGB as it is."""
HDR = {16: "PQ", 18: "HLG"}
"""The transfers of HDR video."""
COEFFICIENTS = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9}
"""Matrix of a file -> the one by whose coefficients swscale writes it: BT.709, FCC, BT.601 twice, 240M, BT.2020."""


@dataclass(frozen=True)
class Colours:
    """The tags of a video that a player goes by."""

    matrix: int = BT709
    range: int = LIMITED
    primaries: int = BT709
    transfer: int = BT709

    @classmethod
    def of(cls, frame: Any) -> "Colours":
        """How to write RGB that was read from PyAV's frame, so that it is shown as that frame is.

        RGB has been made by the frame's matrix and range; which primaries and transfer it means is still in the tags.
        Where the frame names none, or holds RGB, it is BT.709.
        """
        matrix = frame.colorspace if frame.colorspace in COEFFICIENTS else BT709
        full = frame.color_range == FULL and not frame.format.is_rgb
        named = (BT709 if tag in (0, UNTAGGED) else int(tag) for tag in (frame.color_primaries, frame.color_trc))
        return cls(matrix, FULL if full else LIMITED, *named)

    def as_rgb(self) -> "Colours":
        """The tags of the same colours, stored as RGB."""
        return replace(self, matrix=RGB, range=FULL)

    def tag(self, context: Any) -> None:
        """Name these colours in what PyAV's encoder writes."""
        context.colorspace, context.color_range = self.matrix, self.range
        context.color_primaries, context.color_trc = self.primaries, self.transfer

    def converted(self, rgb: Any, pixels: str) -> Any:
        """PyAV's RGB frame as a frame of another pixel format, in these colours."""
        if self.matrix == RGB:
            return rgb.reformat(format=pixels)
        return rgb.reformat(
            format=pixels,
            src_color_range=FULL,
            dst_color_range=self.range,
            dst_colorspace=COEFFICIENTS[self.matrix],
        )


def untagged_matrix(height: int, width: int) -> int:
    """The matrix that players assume where a file names none: BT.709 for HD, else BT.601."""
    return BT709 if width >= 1280 or height > 576 else BT601
