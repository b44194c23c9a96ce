"""TFI, texture from interval: how fast a pixel fires, by the distances in time between its spikes.

n spike frames of h x w pixels.
"""

import numpy as np
from numpy.typing import NDArray

from spikevrt.data.spikes.stretch import Stretch
from spikevrt_kernels.core.numba_jit import compiled

SEARCHED = 200
"""Spike frames before and after the window in which the spikes around it are searched."""


@compiled()
def fires(packed: NDArray[np.uint8], time: int, pixel: int) -> bool:
    """Whether a pixel has a spike in a frame."""
    return packed[time, pixel >> 3] >> (pixel & 7) & 1 != 0


@compiled()
def spike_before(packed: NDArray[np.uint8], time: int, pixel: int) -> int:
    """The last frame up to `time` in which a pixel fires; -1 if there is none."""
    while time >= 0 and not fires(packed, time, pixel):
        time -= 1
    return time


@compiled()
def interval_kernel(
    packed: NDArray[np.uint8],  # (n, bytes)
    first: int,
    last: int,
    rates: NDArray[np.float32],  # (8 * bytes,) spikes per frame
) -> None:
    """Average the intervals from the last spike up to frame `first` to the first spike from frame `last` + 1 on."""
    frames = len(packed)
    for pixel in range(len(rates)):
        begin, most = spike_before(packed, first, pixel), np.float32(1)
        none_before = begin < 0
        if none_before:
            # What is searched begins too late: the average begins with the first spike.
            begin = first + 1
            while begin < frames and not fires(packed, begin, pixel):
                begin += 1
        time, spikes, end = begin + 1, 0, begin
        while time < frames and (spikes == 0 or end <= last):
            if fires(packed, time, pixel):
                spikes, end = spikes + 1, time
            time += 1
        # Where a spike is missing, one may lie just outside of what is searched, but no nearer: that limits the rate.
        if none_before:
            most = np.float32(spikes + 1) / np.float32(end + 1)
        if begin < frames and end <= last:
            most = min(most, np.float32(spikes + 1) / np.float32(frames - begin))
            earlier = spike_before(packed, begin - 1, pixel)
            if earlier >= 0:
                begin, spikes = earlier, spikes + 1
        rates[pixel] = min(most, np.float32(spikes) / np.float32(end - begin)) if spikes else np.float32(0)


def interval_firing(stretch: Stretch, window: slice) -> NDArray[np.float32]:
    """(h,w) float32 spikes per spike frame in [0,1], by the intervals between spikes.

    Classical TFI takes 1 / the interval around one moment. Where it is bright, intervals are of 1 or 2 frames, and
    pictures have only the greys 1, 1/2, 1/3. Here, intervals are averaged: from the last spike before the window's
    second frame to the first spike behind the window. Where it is dark, that is one interval, as in classical TFI;
    where it is bright, so many that they fill the window.

    Args:
        stretch: the window, and the spike frames around it in which the spikes before and after it are searched.
        window: spike frames of the recording, at least one; one alone gives classical TFI.
    """
    rates = np.empty(8 * stretch.packed.shape[1], np.float32)
    interval_kernel(stretch.packed, window.start - stretch.first, window.stop - 1 - stretch.first, rates)
    return stretch.image(rates)
