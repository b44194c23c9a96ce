"""Do RGB frames and spikes show the same? Catches a wrong flip, a wrong geometry and spikes of other frames."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from spikevrt.config import DataConfig
from spikevrt.data.clips.clip import Clip
from spikevrt.data.files.images import read_image
from spikevrt.data.identification.ranking import correlation
from spikevrt.data.simulation.camera import to_grey
from spikevrt.data.spikes.folder import SpikeFolder
from spikevrt.errors import UserError

ALIKE = 0.5
"""Least correlation of spikes and frame; right ones reach 0.9, wrong ones hardly 0.2."""
FLAT = 2.0
"""A frame that varies by less (of 255) tells nothing."""
PHASE_NOISE = 1 / 6
"""Variance of a count of spikes about its expectation, the phase being random: mean of f (1 - f), f its fraction."""
WEAK = 0.2
"""Spikes so few that not even the right ones could correlate by more tell nothing."""


def likeness_problems(clip: Clip, spikes: SpikeFolder, data: DataConfig) -> Iterator[str]:
    """A line where the mean of the spikes is not like the frames of the clip."""
    found = []
    # The first, the middle and the last.
    for index in sorted({0, len(clip.stems) // 2, len(clip.stems) - 1}):
        try:
            pair = likeness(clip, spikes, clip.stems[index], data)
        except UserError:
            return  # named already, file by file
        if pair is not None:
            found.append(pair)
    if not found:
        return
    upright, turned = (float(np.median(column)) for column in zip(*found, strict=True))
    if upright >= ALIKE and upright >= turned:
        return
    figures = f"correlation {upright:.2f}, upside down {turned:.2f}"
    if turned >= ALIKE:
        flip = str(not data.spike_flip).lower()
        yield f"{clip.folder}: spikes are upside down against the frames ({figures}); set DATA.SPIKE_FLIP={flip}"
    else:
        yield (
            f"{clip.folder}: spikes do not show what the frames show ({figures}); wrong geometry ({spikes.geometry}), "
            "or spikes of other frames: python -m spikevrt.identify FILE --picture FRAME"
        )


def likeness(clip: Clip, spikes: SpikeFolder, stem: str, data: DataConfig) -> tuple[float, float] | None:
    """Correlation of the TFP picture of an exposure with the frame, as read and upside down, as a share of what noise
    of so few spikes allows; the better of the sharp and the blurred frame. None where that tells nothing.
    """
    view = spikes.recording(stem).voxels(1, None, data.spike_time_offset)[0].astype(np.float32)
    variance = float(view.var())
    attainable = max(0.0, 1 - PHASE_NOISE / variance) ** 0.5 if variance > 0 else 0.0
    if attainable < WEAK:
        return None
    pairs = []
    for path in (clip.blurred[stem], *([clip.sharp[stem]] if clip.sharp else [])):
        grey = to_grey(read_image(path))
        if grey.std() >= FLAT:
            small = resized(grey, (view.shape[0], view.shape[1]))
            pairs.append((correlation(small, view) / attainable, correlation(small, view[::-1]) / attainable))
    return max(pairs, key=max) if pairs else None


def resized(grey: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """(H,W) -> (h,w) by area."""
    return np.asarray(Image.fromarray(grey).resize((size[1], size[0]), Image.Resampling.BOX), np.float32)
