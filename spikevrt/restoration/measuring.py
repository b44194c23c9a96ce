"""Measures methods on clips: scores of every frame, the pictures that a report shows, time and memory."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from spikevrt.config import DataConfig
from spikevrt.data.clips.clip import Clip
from spikevrt.data.files.images import write_png
from spikevrt.data.simulation.optical_flow import FlowFinder
from spikevrt.restoration.comparison import to_bytes
from spikevrt.restoration.consistency import Steadiness
from spikevrt.restoration.evaluation import REFERENCE, SHARP, Compared, Methods, compare
from spikevrt.restoration.html_report import Album
from spikevrt.restoration.report import Report, Speed
from spikevrt.restoration.scores import Scores, score
from spikevrt.system.memory import memory_in_use


class Setting(NamedTuple):
    """What is compared, and on which clips."""

    data: DataConfig
    clips: list[Clip]
    crop: int | None
    """Only the centre `crop` x `crop` pixels of each frame."""
    methods: Methods
    flow: FlowFinder | None
    """None = without figures of pairs of frames."""
    report: Report
    """Without scores."""


def measured(setting: Setting, album: Album, folder: Path | None) -> Iterator[None]:
    """Fill the report and the album, frame by frame; with a folder, write all pictures into it.

    Raises:
        UserError: a picture is missing or has another size than the frames.
    """
    report, methods = setting.report, setting.methods
    frames = pixels = 0
    for clip in setting.clips:
        steadiness = Steadiness(setting.flow, report.how, report.border) if setting.flow else None
        for frame in compare(clip, setting.data, methods, setting.crop):
            scores = scores_of(frame, report, steadiness)
            report.add(clip.name, frame.stem, scores)
            album.offer(clip.name, frame.stem, frame.pictures | {SHARP: frame.sharp}, scores)
            if folder:
                save(folder, clip.name, frame)
            frames, pixels = frames + 1, pixels + frame.sharp[0].numel()
            yield
    report.speeds = {name: Speed(seconds, frames, pixels) for name, seconds in methods.watch.seconds.items()}
    for restorer in methods.restorers.values():
        report.peak_bytes = memory_in_use(restorer.device)


def scores_of(frame: Compared, report: Report, steadiness: Steadiness | None) -> dict[str, Scores]:
    """The figures of a frame by every method; those of pairs of frames also of the sharp one."""
    scores = {name: score(picture, frame.sharp, report.how, report.border) for name, picture in frame.pictures.items()}
    if report.perceptual:
        for name, picture in frame.pictures.items():
            scores[name] |= report.perceptual.scores(picture, frame.sharp, report.border)
    if steadiness is None:
        return scores
    scores[SHARP] = dict.fromkeys(report.metrics)
    pairs = steadiness.scores(frame.sharp, frame.pictures | {SHARP: frame.sharp})
    return {name: of | pairs[name] for name, of in scores.items()}


def save(folder: Path, clip: str, frame: Compared) -> None:
    """Write all pictures of a frame where tools for other metrics look for them."""
    for method, picture in {REFERENCE: frame.sharp, **frame.pictures}.items():
        write_png(folder / method / clip / f"{frame.stem}.png", to_bytes(picture))
