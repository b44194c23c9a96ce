"""Dense optical flow between two frames by OpenCV, DIS (Kroeger et al. 2016), and what both of them show.

What only one of them shows is found by following the flow there and back (Sundaram et al. 2010), unless what surrounds
it looks quite alike, or quite different, where the flow leads. Frames of H x W pixels.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikevrt.data.files.images import GREY_WEIGHTS
from spikevrt.data.files.video import Frame
from spikevrt_kernels.core.numba_jit import compiled

NEEDS_OPENCV = "needs OpenCV (the extra flow): pip install opencv-python-headless"
LEAST_SIDE = 16
"""Pixels of the thinnest picture whose flow is asked for: OpenCV refuses thinner ones, or crashes."""
LEAST_SHOWN = 0.2
"""Share of a frame that the frame before shows, unless the scene was cut.

In videos of 640x272 at most 0.05 was found again by chance at cuts, and at least 0.3 in fast motion; in much smaller
frames chance finds more, and a cut may be taken for motion.
"""

AROUND = 2
"""Pixels to each side that are compared with those where the flow leads."""
ALIKE = 3.0
"""Grey levels by which they differ on average where the other frame certainly shows a pixel."""
UNLIKE = 32.0
"""Grey levels by which they differ on average where it certainly does not."""
PATTERN = 2
"""Grey levels of the pattern that stands still in both frames while their flow is looked for.

Along a straight edge of flat surfaces any flow will do, and none is found; with the pattern, that across the edge is.
"""

FlowFinder = Callable[[NDArray[np.uint8], NDArray[np.uint8]], NDArray[np.float32]]
"""Takes two pictures (H,W) in 0..255; returns (H,W,2), how far right and down each pixel of the first has moved."""


def flow_finder() -> FlowFinder | None:
    """Optical flow by OpenCV; None where OpenCV is not installed."""
    try:
        import cv2
    except ImportError:
        return None
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    # The preset stops at half of the resolution, with ten times the error on a moved texture.
    dis.setFinestScale(0)

    def find(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
        height, width = first.shape
        flow = np.ascontiguousarray(dis.calc(continued(first), continued(second), np.empty(0, np.float32)), np.float32)
        return flow[:height, :width]

    return find


def continued(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture (H,W), continued at the right and the bottom where it is thinner than `LEAST_SIDE`."""
    return np.pad(picture, [(0, max(LEAST_SIDE - side, 0)) for side in picture.shape], "edge")


@compiled()
def compare_flows(
    flow: NDArray[np.float32],  # (H, W, 2) of one frame to the other
    other: NDArray[np.float32],  # (H, W, 2) of the other to this one
    shown: NDArray[np.uint8],  # (H, W) 1 = the other frame shows this pixel
) -> None:
    """Follow each pixel there and back."""
    height, width = shown.shape
    for y in range(height):
        for x in range(width):
            dx, dy = flow[y, x, 0], flow[y, x, 1]
            px, py = x + dx, y + dy
            shown[y, x] = 0
            if not (0 <= px <= width - 1 and 0 <= py <= height - 1):
                continue
            left, top = int(px), int(py)
            right, below = min(left + 1, width - 1), min(top + 1, height - 1)
            a, b = px - left, py - top
            back_x = (1 - b) * ((1 - a) * other[top, left, 0] + a * other[top, right, 0]) + b * (
                (1 - a) * other[below, left, 0] + a * other[below, right, 0]
            )
            back_y = (1 - b) * ((1 - a) * other[top, left, 1] + a * other[top, right, 1]) + b * (
                (1 - a) * other[below, left, 1] + a * other[below, right, 1]
            )
            off = (dx + back_x) ** 2 + (dy + back_y) ** 2
            allowed = 0.01 * (dx * dx + dy * dy + back_x * back_x + back_y * back_y) + 0.5
            shown[y, x] = off <= allowed


@compiled()
def compare_colours(
    frame: NDArray[np.uint8],  # (H, W, 3)
    other: NDArray[np.uint8],  # (H, W, 3)
    flow: NDArray[np.float32],  # (H, W, 2) of this frame to the other
    unlike: NDArray[np.float32],  # (H, W) scratch
    shown: NDArray[np.uint8],  # (H, W) becomes 1 where what surrounds a pixel looks alike, 0 where it looks unlike
) -> None:
    """Compare what surrounds each pixel with what its flow points at: along a straight edge it may slide unnoticed."""
    height, width = shown.shape
    for y in range(height):
        for x in range(width):
            px, py = x + flow[y, x, 0], y + flow[y, x, 1]
            unlike[y, x] = 255
            if not (0 <= px <= width - 1 and 0 <= py <= height - 1):
                continue
            left, top = int(px), int(py)
            right, below = min(left + 1, width - 1), min(top + 1, height - 1)
            a, b = px - np.float32(left), py - np.float32(top)
            total = np.float32(0)
            for c in range(3):
                upper = (1 - a) * np.float32(other[top, left, c]) + a * np.float32(other[top, right, c])
                lower = (1 - a) * np.float32(other[below, left, c]) + a * np.float32(other[below, right, c])
                total += abs((1 - b) * upper + b * lower - np.float32(frame[y, x, c]))
            unlike[y, x] = total / 3
    for y in range(height):
        for x in range(width):
            total, count = np.float32(0), 0
            for i in range(max(y - AROUND, 0), min(y + AROUND + 1, height)):
                for j in range(max(x - AROUND, 0), min(x + AROUND + 1, width)):
                    total += unlike[i, j]
                    count += 1
            if total <= ALIKE * count:
                shown[y, x] = 1
            elif total > UNLIKE * count:
                shown[y, x] = 0


class Tracks(NamedTuple):
    """The flows between two frames."""

    flows: list[NDArray[np.float32]]
    """(H,W,2) of the first to the second, and back."""
    shown: NDArray[np.uint8]
    """(2,H,W): 1 where the other frame shows a pixel too."""

    @property
    def cut(self) -> bool:
        """Whether the scene was cut between the frames."""
        return bool(self.shown.mean() < LEAST_SHOWN)


def find_tracks(find: FlowFinder, frames: tuple[Frame, Frame]) -> Tracks:
    """Find the flows between two frames (H,W,3) uint8, and what both of them show."""
    pattern = np.random.default_rng(0).integers(-PATTERN, PATTERN + 1, frames[0].shape[:2])
    pictures = [np.clip(np.rint(frame @ GREY_WEIGHTS) + pattern, 0, 255).astype(np.uint8) for frame in frames]
    flows = [find(*pictures), find(*pictures[::-1])]
    shown, unlike = np.empty((2, *pictures[0].shape), np.uint8), np.empty(pictures[0].shape, np.float32)
    for i in range(2):
        compare_flows(flows[i], flows[1 - i], shown[i])
        compare_colours(frames[i], frames[1 - i], flows[i], unlike, shown[i])
    return Tracks(flows, shown)
