"""The results of an evaluation: tables for people and for documents, JSON and CSV for programs."""

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import spikevrt
from spikevrt.data.files.atomic import replacing
from spikevrt.errors import one_line, shown
from spikevrt.restoration import consistency
from spikevrt.restoration.evaluation import STEMS
from spikevrt.restoration.metrics import Figure
from spikevrt.restoration.perceptual import Perceptual
from spikevrt.restoration.protocols import PROTOCOLS, Protocol
from spikevrt.restoration.scores import Scores, mean_scores, titled
from spikevrt.table import format_table, markdown_table

FORMAT = 2
"""Version of the JSON document: it grows when a field changes its meaning or goes."""


class Speed(NamedTuple):
    """What restoring took."""

    seconds: float
    frames: int
    pixels: int
    """Of all frames."""

    @property
    def tree(self) -> dict[str, float]:
        """For JSON."""
        seconds = max(self.seconds, 1e-9)
        return {
            "seconds": self.seconds,
            "frames_per_second": self.frames / seconds,
            "megapixels_per_second": self.pixels / 1e6 / seconds,
        }


class Table(NamedTuple):
    """Means of a clip, or of all."""

    title: str
    frames: int
    means: dict[str, Scores]
    """By method."""


@dataclass
class Report:
    """Scores of every frame, by clip and method, and what they were measured on."""

    about: dict[str, Any]
    """Data set, split, folders, crop, models."""
    protocol: str = "rgb-float"
    border: int = 0
    pairs: bool = False
    """Whether scores have the figures of pairs of frames."""
    perceptual: Perceptual | None = None
    """What computes further figures."""
    clips: dict[str, dict[str, list[Scores]]] = field(default_factory=dict)
    stems: dict[str, list[str]] = field(default_factory=dict)
    """Of the frames of each clip, in their order."""
    speeds: dict[str, Speed] = field(default_factory=dict)
    """By checkpoint."""
    peak_bytes: int | None = None
    """Memory of the device, or of the process on the CPU."""

    @property
    def how(self) -> Protocol:
        """How frames are compared."""
        return PROTOCOLS[self.protocol]

    @property
    def metrics(self) -> dict[str, Figure]:
        """The columns by the names of scores."""
        further = self.perceptual.figures if self.perceptual else {}
        return titled(self.how.colours, self.pairs) | further

    @property
    def protocol_text(self) -> str:
        """How frames were compared, in one line."""
        compared = [self.how.text(self.border), "grey: 0.3 R + 0.59 G + 0.11 B in float"]
        compared += [consistency.ABOUT] if self.pairs else []
        compared += [self.perceptual.about] if self.perceptual else []
        return "; ".join(compared)

    def add(self, clip: str, stem: str, scores: Mapping[str, Scores]) -> None:
        """Add one frame's scores."""
        self.stems.setdefault(clip, []).append(stem)
        methods = self.clips.setdefault(clip, {})
        for method, value in scores.items():
            methods.setdefault(method, []).append(value)

    def clip_table(self, clip: str) -> Table:
        """The means of a clip."""
        return Table(clip, len(self.stems[clip]), {m: mean_scores(s) for m, s in self.clips[clip].items()})

    def overall(self) -> Table:
        """The means over all clips, for the methods that are present in every clip."""
        common = set.intersection(*(set(methods) for methods in self.clips.values()))
        first = next(iter(self.clips.values()))
        means = {}
        for method in (name for name in first if name in common):
            clips = [methods[method] for methods in self.clips.values()]
            if self.how.over_clips:
                means[method] = mean_scores([mean_scores(scores) for scores in clips])
            else:
                means[method] = mean_scores([score for scores in clips for score in scores])
        title = f"all {len(self.clips)} clips"
        return Table(title, sum(map(len, self.stems.values())), means)

    def tables(self) -> list[Table]:
        """One for each clip, and one for all clips if there are several."""
        found = list(map(self.clip_table, self.clips))
        return [*found, self.overall()] if len(found) > 1 else found

    def text(self) -> str:
        """All tables, for a terminal."""
        return "\n\n".join(format_table(*self.cells(table)) for table in self.tables())

    def speed_text(self) -> str:
        """What each checkpoint took, for a terminal."""
        lines = []
        for name, speed in self.speeds.items():
            tree = speed.tree
            rates = f"{tree['frames_per_second']:.3g} frames, {tree['megapixels_per_second']:.3g} megapixels a second"
            lines.append(f"{shown(name)}: {rates}")
        if self.peak_bytes:
            lines.append(f"memory in use at most, or on the CPU at the end: {self.peak_bytes / 1e9:.2f} GB")
        return "\n".join(lines)

    def markdown(self) -> str:
        """All of it for a document."""
        lines = [f"- {key}: {one_line(str(value))}" for key, value in self.about.items() if value is not None]
        tables = [markdown_table(*self.cells(table)) for table in self.tables()]
        return "\n".join([*lines, f"- protocol: {self.protocol} ({self.protocol_text})", "", "\n\n".join(tables), ""])

    def cells(self, table: Table) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """The header and the rows of a table."""
        rows = [
            (shown(method), *(metric.text(scores[name]) for name, metric in self.metrics.items()))
            for method, scores in table.means.items()
        ]
        title = one_line(f"{table.title} ({table.frames} frames)")
        return (title, *(metric.title for metric in self.metrics.values())), rows

    def tree(self) -> dict[str, Any]:
        """All of it for a program; an infinite PSNR becomes None."""
        overall = self.overall()
        return {
            "format": FORMAT,
            "spikevrt": spikevrt.__version__,
            "protocol": self.protocol,
            "compared": self.protocol_text,
            "border": self.border,
            **self.about,
            "speed": {name: speed.tree for name, speed in self.speeds.items()},
            "peak_bytes": self.peak_bytes,
            "clips": {name: means_tree(self.clip_table(name)) for name in self.clips},
            "all": means_tree(overall),
            "frames": {
                clip: {STEMS: stems, **{m: columns(scores) for m, scores in self.clips[clip].items()}}
                for clip, stems in self.stems.items()
            },
        }

    def rows(self) -> Iterator[dict[str, Any]]:
        """One for each frame and method, for CSV."""
        for clip, stems in self.stems.items():
            for method, scores in self.clips[clip].items():
                for stem, values in zip(stems, scores, strict=True):
                    yield {"clip": clip, "frame": stem, "method": method, **values}

    def write_json(self, path: Path) -> None:
        """Write the tree."""
        write(path, json.dumps(self.tree(), indent=1, allow_nan=False) + "\n")

    def write_csv(self, path: Path) -> None:
        """Write the scores of every frame."""
        text = io.StringIO()
        writer = csv.DictWriter(text, ("clip", "frame", "method", *self.metrics), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows())
        write(path, text.getvalue())

    def write_markdown(self, path: Path) -> None:
        """Write the tables."""
        write(path, self.markdown())


def write(path: Path, text: str) -> None:
    """Write a text file, completely or not at all; bytes of file names that are not UTF-8 are escaped."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def finite(value: float | None) -> float | None:
    """A value for JSON, which knows no infinity."""
    return value if value is None or math.isfinite(value) else None


def means_tree(table: Table) -> dict[str, Any]:
    """Number of frames and mean scores of every method."""
    return {
        method: {"frames": table.frames, **{name: finite(value) for name, value in scores.items()}}
        for method, scores in table.means.items()
    }


def columns(scores: list[Scores]) -> dict[str, list[float | None]]:
    """The scores of frames by name."""
    return {name: [finite(score[name]) for score in scores] for name in scores[0]}
