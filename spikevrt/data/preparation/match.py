"""Checks that RGB frames and spikes show the same scene: finds wrong flips, geometries and spikes of other frames."""

from collections.abc import Iterator

import numpy as np

from spikevrt.config import DataConfig
from spikevrt.data.clips.clip import Clip
from spikevrt.data.files.images import read_image, to_grey
from spikevrt.data.files.similarity import SIMILAR, Similarity, similarity
from spikevrt.data.spikes.folder import SpikeFolder
from spikevrt.errors import UserError

FLAT_DEVIATION = 2.0
"""A frame with a smaller standard deviation (of 255) has too little contrast to decide."""
PHASE_NOISE = 1 / 6
"""Variance of a spike count around its mean for a random phase: the mean of f (1 - f), f its fractional part."""
WEAK_CORRELATION = 0.2
"""If noise limits even a correct correlation to less than this, the spikes cannot decide."""


def similarity_problems(clip: Clip, spikes: SpikeFolder, data: DataConfig) -> Iterator[str]:
    """A line if the spikes of a clip do not look like its frames."""
    found = []
    # The first, the middle and the last frame.
    for index in sorted({0, len(clip.stems) // 2, len(clip.stems) - 1}):
        try:
            pair = exposure_similarity(clip, spikes, clip.stems[index], data)
        except UserError:
            return  # The check of single files reports it.
        if pair is not None:
            found.append(pair)
    if not found:
        return
    upright, flipped = (float(np.median(column)) for column in zip(*found, strict=True))
    if upright >= SIMILAR and upright >= flipped:
        return
    figures = f"correlation {upright:.2f}, upside down {flipped:.2f}"
    if flipped >= SIMILAR:
        flip = str(not data.spike_flip).lower()
        yield f"{clip.folder}: spikes are upside down against the frames ({figures}); set DATA.SPIKE_FLIP={flip}"
    else:
        yield (
            f"{clip.folder}: spikes do not show what the frames show ({figures}); wrong geometry ({spikes.geometry}), "
            "or spikes of other frames: python -m spikevrt.identify FILE --picture FRAME"
        )


def exposure_similarity(clip: Clip, spikes: SpikeFolder, stem: str, data: DataConfig) -> Similarity | None:
    """Correlation of an exposure's spike counts with its frame, upright and upside down, divided by the highest value
    that shot noise allows; the better of the sharp and the blurred frame. None if inconclusive.
    """
    view = spikes.recording(stem).voxels(1, None, data.spike_time_offset)[0].astype(np.float32)
    variance = float(view.var())
    attainable = max(0.0, 1 - PHASE_NOISE / variance) ** 0.5 if variance > 0 else 0.0
    if attainable < WEAK_CORRELATION:
        return None
    found = []
    for path in (clip.blurred[stem], *([clip.sharp[stem]] if clip.sharp else [])):
        grey = to_grey(read_image(path))
        if grey.std() >= FLAT_DEVIATION:
            found.append(Similarity(*(value / attainable for value in similarity(grey, view))))
    return max(found, key=max) if found else None
