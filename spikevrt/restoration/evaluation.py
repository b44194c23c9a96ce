"""Applies every method to a clip, frame by frame, beside the sharp frames."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from spikevrt.config import DataConfig
from spikevrt.data.clips.augmentation import cut
from spikevrt.data.clips.clip import Clip, white_rate
from spikevrt.data.files.images import read_image
from spikevrt.data.spikes.methods import TFI, TFP, WINDOWS
from spikevrt.data.spikes.playback import firing
from spikevrt.data.spikes.tfp import brightness, default_span, enlarged, middle_span
from spikevrt.restoration.sources import clip_source, read_together, to_tensor
from spikevrt.restoration.stream import Restorer

BLURRED, SHARP = "blurred", "sharp"
"""Captions of the pictures that need no model, and of the sharp frame."""
FROM_SPIKES = {"TFP": TFP, "TFI": TFI}
"""Captions of the pictures from spikes alone, and by which method they are made."""
REFERENCE = "reference"
"""The folder in which the sharp frames are saved."""
STEMS = "stems"
"""Key of the frames' names, beside the methods, in the JSON document."""
TAKEN = {
    **dict.fromkeys((BLURRED, *FROM_SPIKES, SHARP), "a row of every table"),
    REFERENCE: "the sharp frames' folder",
    STEMS: "the list of frames",
    **dict.fromkeys((".", ".."), "no name of a folder"),
}
"""Names that no model and no folder of pictures may have, and what they mean."""


@dataclass(frozen=True)
class Compared:
    """One sharp frame (3,H,W) and its restorations by method, float32 in [0,1]; those from spikes alone are (1,H,W)."""

    stem: str
    sharp: Tensor
    pictures: dict[str, Tensor]


@dataclass(frozen=True)
class SpikeSettings:
    """How pictures are made from spikes alone."""

    tfp_span: int | None = None
    """Spike frames around the middle of the exposure that TFP averages; None = half of the exposure."""
    rate: float | None = None
    """Firing rate of a white pixel; None = from the clip's notes, else 0.6."""

    def window(self, method: str, frames: int) -> slice:
        """The spike frames that a picture of an exposure of `frames` shows; TFI shows as many as in `playback`.

        Raises:
            UserError: the exposure is shorter than `tfp_span`.
        """
        if method == TFP:
            return middle_span(frames, self.tfp_span or default_span(frames))
        return middle_span(frames, min(WINDOWS[method], frames))


@dataclass(frozen=True)
class Methods:
    """What is compared with the sharp frames beside the blurred ones."""

    restorers: Mapping[str, Restorer]
    pictures: Mapping[str, Path] = field(default_factory=dict)
    """Folders of another program's results, as CLIP/STEM.png."""
    from_spikes: SpikeSettings = SpikeSettings()
    watch: "Stopwatch" = field(default_factory=lambda: Stopwatch())


class Stopwatch:
    """Seconds that methods took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def timed(self, name: str, frames: Iterator[Tensor]) -> Iterator[Tensor]:
        """Pass frames on, and add what each took to its method's time."""
        end = object()
        while True:
            start = time.perf_counter()
            frame = next(frames, end)
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
            if not isinstance(frame, Tensor):
                return
            yield frame


def compare(clip: Clip, data: DataConfig, methods: Methods, crop: int | None) -> Iterator[Compared]:
    """Apply every method to the frames of a clip, whole or only the centre `crop` x `crop` pixels.

    Raises:
        UserError: a picture is missing or has another size than the frames.
    """
    source, restorers = clip_source(clip, data, crop), methods.restorers
    inputs = [clip_source(clip, restorer.config.data, crop) for restorer in restorers.values()]
    # All methods advance frame by frame, so no more frames are in memory than the longest temporal window needs.
    blurred, *frames = read_together([source, *inputs])
    restored = [
        methods.watch.timed(name, restorer.restore(of, taken))
        for (name, restorer), of, taken in zip(restorers.items(), inputs, frames, strict=True)
    ]
    box = source.crop or (0, 0, *source.size)
    for stem, frame, *outputs in zip(clip.stems, blurred, *restored, strict=True):
        sharp = to_tensor(cut(read_image(clip.sharp[stem]), box, source.size, clip.sharp[stem]))
        pictures = {BLURRED: frame.blur.float() / 255}
        top, left, h, w = box
        for name, whole in from_spikes(clip, stem, data, methods.from_spikes).items():
            pictures[name] = whole[:, top : top + h, left : left + w]
        for name, folder in methods.pictures.items():
            path = folder / clip.name / f"{stem}.png"
            pictures[name] = to_tensor(cut(read_image(path), box, source.size, path)).float() / 255
        yield Compared(stem, sharp.float() / 255, pictures | dict(zip(restorers, outputs, strict=True)))


def from_spikes(clip: Clip, stem: str, data: DataConfig, settings: SpikeSettings) -> dict[str, Tensor]:
    """Pictures (1,H,W) of the middle of one exposure by every method of `FROM_SPIKES`; none without spikes."""
    if clip.spikes is None:
        return {}
    recording, white = clip.spikes.recording(stem), settings.rate or white_rate(clip.folder)
    exposure = recording.exposure(data.spike_time_offset)
    pictures = {}
    for name, method in FROM_SPIKES.items():
        window = settings.window(method, exposure.stop - exposure.start)
        [rates] = firing(recording, method, [slice(exposure.start + window.start, exposure.start + window.stop)])
        pictures[name] = enlarged(torch.from_numpy(brightness(rates, white))[None], clip.frame_size)
    return pictures
