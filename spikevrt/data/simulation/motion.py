"""Measures how fast what a source shows moves, and says what that means for data made of it."""

import math
from collections.abc import Iterable, Iterator

import numpy as np

from spikevrt.data.files.video import Frame
from spikevrt.data.simulation.optical_flow import Tracks, find_tracks, flow_finder
from spikevrt.data.simulation.settings import FLOW, SpikeCamera

FASTEST, FASTEST_FRAMES = 99.5, 95
"""The percentile of the speeds in a frame, and of those of all frames, that counts as the fastest motion."""
MEASURED_EVERY = 8
"""Frames from one measurement of motion to the next where no flow is needed otherwise."""


class Motion:
    """How fast what the frames of a source show moves, as far as it was measured."""

    def __init__(self) -> None:
        self._speeds: list[float] = []

    @property
    def fastest(self) -> float | None:
        """Pixels per frame; None if nothing was measured."""
        return float(np.percentile(self._speeds, FASTEST_FRAMES)) if self._speeds else None

    def add(self, tracks: Tracks) -> None:
        """Note the flow between two frames where they show the same; none where the scene was cut."""
        flow, shown = tracks.flows[0], tracks.shown[0]
        if tracks.cut or not shown.any():
            return
        speeds = np.hypot(flow[..., 0], flow[..., 1])[shown > 0]
        self._speeds.append(float(np.percentile(speeds, FASTEST)))

    def line(self) -> str:
        """Text that goes on with `;`, empty if nothing was measured."""
        fastest = self.fastest
        return "" if fastest is None else f"; the fastest motion is {fastest:.2g} pixels a frame"

    def warning(self, camera: SpikeCamera) -> str | None:
        """What a data set made of these frames suffers from, with the remedy; None = nothing."""
        fastest = self.fastest
        if fastest is None:
            return None
        wanted = f"--factor {math.ceil(fastest)}"
        if camera.interpolate == FLOW:
            step = fastest / camera.factor
            found = f"the fastest motion is {step:.1f} pixels from one sub-frame to the next, so that streaks have gaps"
            return f"{found}: give {wanted}" if round(step, 1) > 1 else None
        found = f"the fastest motion is {fastest:.2g} pixels a frame, so that blur is a row of ghosts"
        return f"{found}: give --interpolate flow {wanted}" if fastest > 1 else None


def measured(frames: Iterable[Frame], motion: Motion | None) -> Iterator[Frame]:
    """Pass frames on; now and then `motion` notes how fast what they show moves, if OpenCV is installed."""
    find = flow_finder() if motion is not None else None
    before: Frame | None = None
    for number, frame in enumerate(map(np.ascontiguousarray, frames)):
        if find is not None and motion is not None and before is not None and number % MEASURED_EVERY == 1:
            motion.add(find_tracks(find, (before, frame)))
        yield frame
        before = frame
