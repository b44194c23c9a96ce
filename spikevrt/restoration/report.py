"""What an evaluation found: tables for people, JSON for programs."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import spikevrt
from spikevrt.data.files.atomic import replacing
from spikevrt.restoration.evaluation import SCORES, Scores, mean_scores
from spikevrt.table import format_table

PROTOCOL = "RGB and grey (0.3 R + 0.59 G + 0.11 B), float in [0, 1] without rounding, no border, mean over frames"


@dataclass
class Report:
    """Scores of every frame by clip and method, with what they were measured on."""

    about: dict[str, Any]
    """Data set, split, folders, crop, models."""
    clips: dict[str, dict[str, list[Scores]]] = field(default_factory=dict)

    def add(self, clip: str, scores: Mapping[str, Scores]) -> None:
        """One frame's scores."""
        methods = self.clips.setdefault(clip, {})
        for method, value in scores.items():
            methods.setdefault(method, []).append(value)

    def overall(self) -> dict[str, list[Scores]]:
        """All frames of all clips, for the methods that every clip has."""
        common = set.intersection(*(set(methods) for methods in self.clips.values()))
        first = next(iter(self.clips.values()))
        return {m: [s for methods in self.clips.values() for s in methods[m]] for m in first if m in common}

    def tables(self) -> str:
        """A table for each clip, and one for all where there are several."""
        parts = {f"{name} ({frame_count(methods)} frames)": methods for name, methods in self.clips.items()}
        if len(self.clips) > 1:
            parts[f"all {len(self.clips)} clips ({frame_count(self.overall())} frames)"] = self.overall()
        return "\n\n".join(scores_table(title, methods) for title, methods in parts.items())

    def write_json(self, path: Path) -> None:
        """Everything, frame means by clip and in all; an infinite PSNR is written as null."""
        tree = {
            "spikevrt": spikevrt.__version__,
            "protocol": PROTOCOL,
            **self.about,
            "clips": {name: means(methods) for name, methods in self.clips.items()},
            "all": means(self.overall()),
        }
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(tree, indent=1, allow_nan=False) + "\n")


def frame_count(methods: Mapping[str, list[Scores]]) -> int:
    """Frames that every method has."""
    return len(next(iter(methods.values())))


def scores_table(title: str, methods: Mapping[str, list[Scores]]) -> str:
    """One row per method."""
    rows = []
    for method, scores in methods.items():
        averages = mean_scores(scores)
        rows.append((method, *(metric.text(averages[name]) for name, metric in SCORES.items())))
    return format_table((title, *(metric.title for metric in SCORES.values())), rows)


def means(methods: Mapping[str, list[Scores]]) -> dict[str, Any]:
    """Number of frames and mean scores of every method; an infinite mean becomes None."""
    return {
        method: {"frames": len(scores)}
        | {k: v if v is None or math.isfinite(v) else None for k, v in mean_scores(scores).items()}
        for method, scores in methods.items()
    }
