"""Renders sub-frames between the frames of a video along dense optical flow, so that what moves draws a streak.

Both frames are carried to the time of a sub-frame along their own flow, and averaged where they meet. What only one of
them shows is carried along with what surrounds it and has its colour, and yields to what both show. Frames of H x W
pixels.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from spikevrt.data.files.video import Frame
from spikevrt.data.simulation.motion import Motion
from spikevrt.data.simulation.optical_flow import NEEDS_OPENCV, Tracks, find_tracks, flow_finder
from spikevrt.errors import UserError
from spikevrt_kernels.core.numba_jit import compiled

HIDDEN_SHARE = np.float32(1e-3)
"""Weight of a pixel that the other frame does not show."""
FADED_SHARE = np.float32(1e-6)
"""Weight of the frames as they are, which is what remains where no pixel went."""


@compiled()
def find_near(
    marked: NDArray[np.uint8],  # (H, W)
    left: NDArray[np.int32],  # (H, W) column of the nearest marked pixel of the row, from here to the left; -1 = none
    right: NDArray[np.int32],  # (H, W) from here to the right
) -> None:
    """Find for every pixel the marked ones that are nearest in its row."""
    height, width = marked.shape
    for y in range(height):
        last = -1
        for x in range(width):
            last = x if marked[y, x] else last
            left[y, x] = last
        last = -1
        for x in range(width - 1, -1, -1):
            last = x if marked[y, x] else last
            right[y, x] = last


@compiled()
def carry_hidden(
    frame: NDArray[np.uint8],  # (H, W, 3)
    flow: NDArray[np.float32],  # (H, W, 2) changed in place where `shown` is 0
    shown: NDArray[np.uint8],  # (H, W)
    near: NDArray[np.int32],  # (4, H, W) scratch: the nearest shown pixel to the left and right, above and below
) -> None:
    """Give hidden pixels the flow of the shown pixel to the left, right, above or below whose colour is most alike."""
    height, width = shown.shape
    find_near(shown, near[0], near[1])
    find_near(shown.T, near[2].T, near[3].T)
    for y in range(height):
        for x in range(width):
            if shown[y, x]:
                continue
            best = 1 << 30
            for k in range(4):
                place = near[k, y, x]
                if place < 0:
                    continue
                row, column = (y, place) if k < 2 else (place, x)
                unlike = 0
                for c in range(3):
                    unlike += abs(int(frame[y, x, c]) - int(frame[row, column, c]))
                # Of equal colours, the nearer one.
                unlike = unlike * 4096 + abs(row - y) + abs(column - x)
                if unlike < best:
                    best = unlike
                    flow[y, x, 0], flow[y, x, 1] = flow[row, column, 0], flow[row, column, 1]


@compiled()
def splat(
    frame: NDArray[np.uint8],  # (H, W, 3)
    flow: NDArray[np.float32],  # (H, W, 2)
    shown: NDArray[np.uint8],  # (H, W)
    time: np.float32,  # share of the flow that is gone
    share: np.float32,  # weight of this frame
    total: NDArray[np.float32],  # (H, W, 4) colours and weight, added to
) -> None:
    """Carry every pixel along its flow to a place between four pixels, and add it to them."""
    height, width = shown.shape
    for y in range(height):
        for x in range(width):
            px, py = x + time * flow[y, x, 0], y + time * flow[y, x, 1]
            left, top = int(np.floor(px)), int(np.floor(py))
            weight = share if shown[y, x] else share * HIDDEN_SHARE
            for row in range(max(top, 0), min(top + 2, height)):
                for column in range(max(left, 0), min(left + 2, width)):
                    w = weight * (1 - abs(px - np.float32(column))) * (1 - abs(py - np.float32(row)))
                    for c in range(3):
                        total[row, column, c] += w * np.float32(frame[y, x, c])
                    total[row, column, 3] += w


@compiled()
def settle(
    first: NDArray[np.uint8],  # (H, W, 3)
    last: NDArray[np.uint8],  # (H, W, 3)
    time: np.float32,  # of the sub-frame: 0 = first, 1 = last
    total: NDArray[np.float32],  # (H, W, 4)
    out: NDArray[np.uint8],  # (H, W, 3)
) -> None:
    """Divide by the weight; where nothing went, the frames themselves are faded into each other."""
    height, width = out.shape[:2]
    for y in range(height):
        for x in range(width):
            weight = total[y, x, 3] + FADED_SHARE
            for c in range(3):
                base = (1 - time) * np.float32(first[y, x, c]) + time * np.float32(last[y, x, c])
                out[y, x, c] = np.uint8((total[y, x, c] + FADED_SHARE * base) / weight + np.float32(0.5))


def between(frames: tuple[Frame, Frame], tracks: Tracks, steps: int) -> Iterator[Frame]:
    """The sub-frames (H,W,3) uint8 at the times 1/steps, 2/steps ... below 1 between two frames.

    After a cut of the scene they are the nearer frame.
    """
    times = [np.float32(step / steps) for step in range(1, steps)]
    if tracks.cut:
        yield from (frames[int(time >= 0.5)] for time in times)
        return
    size = frames[0].shape[:2]
    near, total = np.empty((4, *size), np.int32), np.empty((*size, 4), np.float32)
    for frame, flow, shown in zip(frames, *tracks, strict=True):
        carry_hidden(frame, flow, shown, near)
    for time in times:
        total[:] = 0
        for frame, flow, shown, gone in zip(frames, *tracks, (time, 1 - time), strict=True):
            splat(frame, flow, shown, np.float32(gone), np.float32(1 - gone), total)
        out = np.empty_like(frames[0])
        settle(*frames, time, total, out)
        yield out


def subframes(frames: Iterable[Frame], factor: int, motion: Motion | None = None) -> Iterator[Frame]:
    """A video with `factor` times the frame rate: every frame, and between two of them `factor` - 1 that are rendered.

    `motion` notes how fast what they show moves.

    Raises:
        UserError: OpenCV is not installed.
    """
    find = flow_finder()
    if find is None:
        raise UserError(f"--interpolate flow: {NEEDS_OPENCV}; or give --interpolate linear")
    before: Frame | None = None
    for frame in map(np.ascontiguousarray, frames):
        if before is not None:
            tracks = find_tracks(find, (before, frame))
            if motion is not None:
                motion.add(tracks)
            yield from between((before, frame), tracks, factor)
        yield frame
        before = frame
