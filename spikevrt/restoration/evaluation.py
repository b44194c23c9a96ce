"""Applies every method to a clip and scores the results against the sharp frames."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from spikevrt.config import DataConfig
from spikevrt.data.clips.augmentation import cut
from spikevrt.data.clips.clip import Clip, white_rate
from spikevrt.data.files.images import read_image
from spikevrt.data.spikes.folder import SpikeFolder
from spikevrt.data.spikes.tfp import enlarged, grey, tfp_picture
from spikevrt.restoration.metrics import METRICS, Metric
from spikevrt.restoration.protocols import Protocol
from spikevrt.restoration.sources import clip_source, read_together, to_tensor
from spikevrt.restoration.stream import Restorer

BLURRED, TFP, SHARP = "blurred", "TFP", "sharp"
"""Captions of the pictures that need no model, and of the sharp frame."""


@dataclass(frozen=True)
class Compared:
    """One sharp frame (3,H,W) and its restorations by method, float32 in [0,1]; TFP is (1,H,W)."""

    stem: str
    sharp: Tensor
    pictures: dict[str, Tensor]


Scores = dict[str, float | None]
"""Figures of one picture, or means over many, with the names of `titled`; grey pictures have no figures in colour."""
GREY_SUFFIX = "_grey"


def titled(colours: str) -> dict[str, Metric]:
    """All figures of a picture, for example `psnr` and `psnr_grey`; titles name the colours."""
    return {
        **{name: metric._replace(title=f"{metric.title} {colours}") for name, metric in METRICS.items()},
        **{name + GREY_SUFFIX: metric._replace(title=f"{metric.title} grey") for name, metric in METRICS.items()},
    }


@dataclass(frozen=True)
class TfpSettings:
    """How TFP pictures are made."""

    span: int | None = None
    """Spike frames around the middle of the exposure that are averaged; None = half of the exposure."""
    rate: float | None = None
    """Firing rate of a white pixel; None = from the clip's notes, else 0.6."""


@dataclass(frozen=True)
class Methods:
    """What is compared with the sharp frames beside the blurred ones."""

    restorers: Mapping[str, Restorer]
    pictures: Mapping[str, Path] = field(default_factory=dict)
    """Folders of another program's results, as CLIP/STEM.png."""
    tfp: TfpSettings = TfpSettings()
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
        if clip.spikes is not None:
            rate = methods.tfp.rate or white_rate(clip.folder)
            whole = enlarged(picture_of_spikes(clip.spikes, stem, data, rate, methods.tfp.span), source.size)
            top, left, h, w = box
            pictures[TFP] = whole[:, top : top + h, left : left + w]
        for name, folder in methods.pictures.items():
            path = folder / clip.name / f"{stem}.png"
            pictures[name] = to_tensor(cut(read_image(path), box, source.size, path)).float() / 255
        yield Compared(stem, sharp.float() / 255, pictures | dict(zip(restorers, outputs, strict=True)))


def picture_of_spikes(spikes: SpikeFolder, stem: str, data: DataConfig, rate: float, span: int | None) -> Tensor:
    """(1,h,w) TFP picture of one exposure; `rate` and `span` as in `TfpSettings`."""
    recording = spikes.recording(stem)
    exposure = recording.exposure(data.spike_time_offset)
    frames = recording.read(start=exposure.start, count=exposure.stop - exposure.start)
    return tfp_picture(frames, rate, span)


def score(picture: Tensor, sharp: Tensor, protocol: Protocol, border: int = 0) -> Scores:
    """Score a picture (3,H,W) or (1,H,W) against the sharp frame (3,H,W), without `border` pixels at each side."""
    inner = slice(border, -border or None)
    picture, sharp = picture[:, inner, inner], sharp[:, inner, inner]
    rgb = picture if picture.shape[0] == 3 else None
    grey_picture, grey_sharp = picture if rgb is None else grey(picture), grey(sharp)
    scores: Scores = {}
    for name, metric in METRICS.items():
        compared = None if rgb is None else metric.function(protocol.prepare(rgb), protocol.prepare(sharp))
        scores[name] = None if compared is None else float(compared)
        scores[name + GREY_SUFFIX] = float(metric.function(grey_picture, grey_sharp))
    return scores


def mean_scores(scores: list[Scores]) -> Scores:
    """The mean of every figure over the pictures of one method."""
    return {name: mean([of[name] for of in scores]) for name in scores[0]}


def mean(values: list[float | None]) -> float | None:
    """The mean, or None if a value is missing."""
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if len(there) == len(values) else None
