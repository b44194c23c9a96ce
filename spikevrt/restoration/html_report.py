"""The results of an evaluation as one HTML file that needs nothing else: tables, curves, pictures to compare."""

import base64
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from torch import Tensor

from spikevrt.errors import one_line
from spikevrt.restoration.comparison import to_image
from spikevrt.restoration.report import Report, Table, write
from spikevrt.restoration.scores import Scores

TITLE = "spikevrt evaluation"
NO_TEXT = re.compile("[\ud800-\udfff]")
"""What Python puts for bytes of a file name that are not UTF-8; some browsers end when they meet it."""


@dataclass
class Shown:
    """Pictures of one frame by every method."""

    why: str
    """For example `worst`."""
    clip: str
    stem: str
    pictures: dict[str, Tensor]
    """(3,H,W) or (1,H,W) in [0,1]; the first one is the blurred frame."""
    value: float


@dataclass
class Album:
    """Keeps the pictures of the worst, the best and one chosen frame, as frames come.

    Args:
        method: by whose score frames are the worst or the best.
        chosen: clip and stem of another frame.
    """

    method: str
    chosen: tuple[str, str]
    kept: dict[str, Shown] = field(default_factory=dict)

    def offer(self, clip: str, stem: str, pictures: dict[str, Tensor], scores: Mapping[str, Scores]) -> None:
        """Look at a frame."""
        value = scores[self.method]["psnr"] or 0.0
        worst, best = self.kept.get("worst"), self.kept.get("best")
        wanted = {
            "chosen": (clip, stem) == self.chosen,
            "worst": worst is None or value < worst.value,
            "best": best is None or value > best.value,
        }
        for why in (why for why, yes in wanted.items() if yes):
            self.kept[why] = Shown(why, clip, stem, pictures, value)

    def pages(self) -> list[Shown]:
        """What to show: the chosen frame first, each frame once."""
        found: dict[tuple[str, str], Shown] = {}
        for why in ("chosen", "worst", "best"):
            one = self.kept[why]
            found.setdefault((one.clip, one.stem), one)
        return list(found.values())


def write_html(path: Path, report: Report, album: Album) -> None:
    """Write the page, completely or not at all."""
    template = Template(files("spikevrt.restoration").joinpath("evaluation.html").read_text(encoding="utf-8"))
    about = {**report.about, "protocol": f"{report.protocol}: {report.protocol_text}"}
    data = {
        "metrics": {name: metric.title for name, metric in report.metrics.items()},
        "main": album.method,
        "frames": report.tree()["frames"],
        "pictures": list(map(page, album.pages())),
    }
    values = {
        "title": TITLE,
        "about": "".join(f"<dt>{escape(key)}</dt><dd>{told(value)}</dd>" for key, value in about.items() if value),
        "tables": "".join(table(report, one) for one in report.tables()),
        "data": as_json(data),
    }
    write(path, template.substitute(values))


def as_json(data: object) -> str:
    """Data for a script inside a page: nothing in it ends the script, and bytes of names that are no text are shown."""
    text = NO_TEXT.sub(lambda found: rf"\\u{ord(found[0]):04x}", json.dumps(data, allow_nan=False, ensure_ascii=False))
    return text.replace("<", "\\u003c")


def told(value: Any) -> str:
    """A value as HTML."""
    if isinstance(value, Mapping):
        return "<br>".join(f"{escape(str(key))}: {told(one)}" for key, one in value.items() if one is not None)
    return escape(one_line(str(value)))


def table(report: Report, one: Table) -> str:
    """A table as HTML."""
    header, rows = report.cells(one)
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def page(one: Shown) -> dict[str, Any]:
    """A frame for the page's script."""
    height, width = next(iter(one.pictures.values())).shape[-2:]
    return {
        "title": f"{one.clip}/{one.stem} ({one.why})",
        "width": width,
        "height": height,
        "images": {name: as_data(picture) for name, picture in one.pictures.items()},
    }


def as_data(picture: Tensor) -> str:
    """A picture as an address that holds it, without loss."""
    out = io.BytesIO()
    to_image(picture).save(out, "WEBP", lossless=True, method=2)
    return "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode()
