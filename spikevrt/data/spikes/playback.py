"""Pictures from spikes alone, one after the other over a whole recording, in memory that does not grow with its length.

n spike frames of h x w pixels.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, tee
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikevrt.config import DataConfig
from spikevrt.data.spikes.geometry import RECORDING_SUFFIXES, geometry_for, recordings_in
from spikevrt.data.spikes.methods import TFI, TFP, WINDOWS
from spikevrt.data.spikes.recording import SpikeFile
from spikevrt.data.spikes.stretch import Stretch, stretches
from spikevrt.data.spikes.tfi import SEARCHED, interval_firing
from spikevrt.data.spikes.tfp import mean_firing, middle_span, white_of
from spikevrt.errors import UserError

Rates = NDArray[np.float32]
"""(h,w) spikes per spike frame, in [0,1]."""
SAMPLED = 8
"""Pictures of a recording that say how fast its white fires."""


class Method(NamedTuple):
    """A way to make a picture."""

    reach: int
    """Spike frames before and after the window that it looks at."""
    rates: Callable[[Stretch, slice], Rates]
    """Takes the window with what is around it, and the window."""


METHODS = {TFP: Method(0, lambda stretch, _: mean_firing(stretch)), TFI: Method(SEARCHED, interval_firing)}


def firing(file: SpikeFile, method: str, windows: Iterable[slice]) -> Iterator[Rates]:
    """How fast each pixel fires in each of `windows`, stretches of spike frames that begin one behind the other."""
    reach, rates = METHODS[method]
    windows, ahead = tee(windows)
    spans = (slice(max(w.start - reach, 0), min(w.stop + reach, file.frames)) for w in ahead)
    for stretch, window in zip(stretches(file, spans), windows, strict=True):
        yield rates(stretch, window)


def middle_firing(file: SpikeFile, method: str) -> Rates:
    """How fast each pixel fires in the middle of a recording."""
    [rates] = firing(file, method, [middle_span(file.frames, min(WINDOWS[method], file.frames))])
    return rates


@dataclass(frozen=True)
class Playback:
    """Which pictures are made of one recording, or of several that follow each other."""

    files: tuple[SpikeFile, ...]
    method: str
    window: int
    """Spike frames that one picture shows; of a shorter file, all of them."""
    step: int
    """Spike frames from one picture to the next."""

    def __len__(self) -> int:
        return sum(len(self.starts(file)) for file in self.files)

    def starts(self, file: SpikeFile) -> range:
        """First spike frames of the windows of a file, which lie inside of it."""
        return range(0, file.frames - min(self.window, file.frames) + 1, self.step)

    def pictures(self) -> Iterator[tuple[float, Rates]]:
        """The middle of each window, in spike frames from the first file's start, and how fast each pixel fires."""
        before = accumulate((file.frames for file in self.files), initial=0)
        for offset, file in zip(before, self.files, strict=False):
            starts = self.starts(file)
            for start, rates in zip(starts, self._firing(file, starts), strict=True):
                yield offset + start + min(self.window, file.frames) / 2, rates

    def white(self) -> float:
        """The firing rate that counts as white: that of the brightest of a few pictures (see `white_of`)."""
        chosen = {i * (len(self) - 1) // (SAMPLED - 1) for i in range(SAMPLED)}
        found: list[float] = []
        before = 0
        for file in self.files:
            starts = self.starts(file)
            some = [starts[i - before] for i in sorted(chosen) if before <= i < before + len(starts)]
            found += map(white_of, self._firing(file, some)) if some else ()
            before += len(starts)
        return max(found)

    def _firing(self, file: SpikeFile, starts: Iterable[int]) -> Iterator[Rates]:
        return firing(file, self.method, (slice(t, t + min(self.window, file.frames)) for t in starts))


def recordings_at(place: Path, data: DataConfig) -> Path:
    """One recording, or the folder of recordings that `place` is, or that it holds if it is a clip.

    Raises:
        UserError: there is no recording.
    """
    if not place.exists():
        raise UserError(f"{place}: no such recording; name a .dat or .npz file, or a folder of them")
    place = place / data.spike_dir if (place / data.spike_dir).is_dir() else place
    if not recordings_in(place):
        raise UserError(f"{place}: holds no recordings ({', '.join(RECORDING_SUFFIXES)}); name one, or its folder")
    return place


def open_playback(place: Path, data: DataConfig, method: str, window: int | None, step: int) -> Playback:
    """Open a recording, a folder of recordings, or a clip that has one.

    Args:
        place: its path; several recordings are played in the order of their names.
        data: the DATA section: geometry, flip, what to do with a file that ends inside a spike frame.
        method: a key of `METHODS`.
        window: spike frames that one picture shows; None = what is usual for the method.
        step: spike frames from one picture to the next.

    Raises:
        UserError: there is no recording, its geometry is unknown or wrong, or it is shorter than a given window.
    """
    place = recordings_at(place, data)
    geometry = geometry_for(place, data)
    files = tuple(SpikeFile(path, geometry) for path in recordings_in(place).values())
    shortest = min(files, key=lambda file: file.frames)
    if window is not None and window > shortest.frames:
        raise UserError(f"--window {window}: {shortest.path} has {shortest.frames} spike frames; give at most so many")
    return Playback(files, method, window or min(WINDOWS[method], max(file.frames for file in files)), step)
