"""The results of an evaluation: tables and pictures to look at, JSON for programs."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F

import spikevrt
from spikevrt.data.files.atomic import replacing
from spikevrt.errors import one_line, shown
from spikevrt.restoration.evaluation import SCORES, Scores, mean_scores
from spikevrt.table import format_table

PROTOCOL = "RGB and grey (0.3 R + 0.59 G + 0.11 B), float in [0, 1] without rounding, no border, mean over frames"


@dataclass
class Report:
    """Scores of every frame, by clip and method, and what they were measured on."""

    about: dict[str, Any]
    """Data set, split, folders, crop, models."""
    clips: dict[str, dict[str, list[Scores]]] = field(default_factory=dict)

    def add(self, clip: str, scores: Mapping[str, Scores]) -> None:
        """Add one frame's scores."""
        methods = self.clips.setdefault(clip, {})
        for method, value in scores.items():
            methods.setdefault(method, []).append(value)

    def overall(self) -> dict[str, list[Scores]]:
        """The scores of all frames, for the methods that are present in every clip."""
        common = set.intersection(*(set(methods) for methods in self.clips.values()))
        first = next(iter(self.clips.values()))
        return {m: [s for methods in self.clips.values() for s in methods[m]] for m in first if m in common}

    def tables(self) -> str:
        """One table per clip, and one for all clips if there are several."""
        parts = {f"{name} ({frame_count(methods)} frames)": methods for name, methods in self.clips.items()}
        if len(self.clips) > 1:
            parts[f"all {len(self.clips)} clips ({frame_count(self.overall())} frames)"] = self.overall()
        return "\n\n".join(scores_table(one_line(title), methods) for title, methods in parts.items())

    def write_json(self, path: Path) -> None:
        """Write means per clip and over all clips as JSON; an infinite PSNR becomes null."""
        tree = {
            "spikevrt": spikevrt.__version__,
            "protocol": PROTOCOL,
            **self.about,
            "clips": {name: means(methods) for name, methods in self.clips.items()},
            "all": means(self.overall()),
        }
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(tree, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def frame_count(methods: Mapping[str, list[Scores]]) -> int:
    """Number of frames, which is the same for every method."""
    return len(next(iter(methods.values())))


def scores_table(title: str, methods: Mapping[str, list[Scores]]) -> str:
    """Table of mean scores, one row per method."""
    rows = []
    for method, scores in methods.items():
        averages = mean_scores(scores)
        rows.append((shown(method), *(metric.text(averages[name]) for name, metric in SCORES.items())))
    return format_table((title, *(metric.title for metric in SCORES.values())), rows)


def means(methods: Mapping[str, list[Scores]]) -> dict[str, Any]:
    """Number of frames and mean scores of every method; infinite means become None."""
    return {
        method: {"frames": len(scores)}
        | {k: v if v is None or math.isfinite(v) else None for k, v in mean_scores(scores).items()}
        for method, scores in methods.items()
    }


PANEL_WIDTH = 256
"""Width of a panel in pixels."""
ZOOM = 4
GAP, CAPTION_HEIGHT, TEXT_SIZE = 8, 26, 16
FRAME_COLOUR = (255, 64, 64)

Box = tuple[int, int, int, int]
"""(top, left, height, width)."""


def comparison(pictures: Mapping[str, Tensor]) -> NDArray[np.uint8]:
    """Draw captioned pictures (3,H,W) or (1,H,W) in [0,1] side by side -> (H',W',3) uint8.

    The first picture is the blurred, the last the sharp one; below, the box in which these two differ most is enlarged.
    """
    first, *_, last = pictures.values()
    H, W = last.shape[-2:]
    height = round(PANEL_WIDTH * H / W)
    box = busiest_box(first, last, max(H // ZOOM, 1), max(W // ZOOM, 1))
    canvas = Image.new(
        "RGB", (len(pictures) * (PANEL_WIDTH + GAP) + GAP, CAPTION_HEIGHT + 2 * (height + GAP)), (255, 255, 255)
    )
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(TEXT_SIZE)
    for number, (caption, picture) in enumerate(pictures.items()):
        left = GAP + number * (PANEL_WIDTH + GAP)
        image = to_image(picture)
        draw.text((left, GAP // 2), shown(caption), (0, 0, 0), font)
        canvas.paste(framed(image, box, (PANEL_WIDTH, height)), (left, CAPTION_HEIGHT))
        top, x, h, w = box
        part = image.crop((x, top, x + w, top + h)).resize((PANEL_WIDTH, height), Image.Resampling.NEAREST)
        canvas.paste(part, (left, CAPTION_HEIGHT + height + GAP))
    return np.asarray(canvas)


def busiest_box(a: Tensor, b: Tensor, height: int, width: int) -> Box:
    """The box of a given size in which two pictures differ most."""
    error = (a - b).abs().mean(0, keepdim=True)
    total = F.avg_pool2d(error[None], (height, width), stride=1)[0, 0]
    place = int(torch.argmax(total))
    return place // total.shape[1], place % total.shape[1], height, width


def to_image(picture: Tensor) -> Image.Image:
    """Convert (3,H,W) or (1,H,W) in [0,1] to an RGB image."""
    return Image.fromarray(to_bytes(picture))


def to_bytes(picture: Tensor) -> NDArray[np.uint8]:
    """Convert (3,H,W) or (1,H,W) in [0,1] to uint8 (H,W,3), rounded."""
    values = (picture.clamp(0, 1) * 255).round().to(torch.uint8)
    return values.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()


def framed(image: Image.Image, box: Box, size: tuple[int, int]) -> Image.Image:
    """Resize a picture to (width, height) and draw the box into it."""
    scale = size[0] / image.width
    shown = image.resize(size, Image.Resampling.BICUBIC)
    top, left, h, w = (round(v * scale) for v in box)
    ImageDraw.Draw(shown).rectangle((left, top, left + w, top + h), outline=FRAME_COLOUR, width=2)
    return shown
