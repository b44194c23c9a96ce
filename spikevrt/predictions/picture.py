"""Draws the memory of a training step over the bytes that it moves."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from spikevrt.predictions.report import Report
from spikevrt.predictions.step import in_gb
from spikevrt.predictions.timeline import Curve
from spikevrt.training.memory_budget import GB

SIZE = (1200, 640)
"""Width and height of the picture in pixels."""
LEFT, TOP, RIGHT, BOTTOM = 90, 110, 1170, 560
"""The box of the curves."""
SHARPNESS = 2
"""Everything is drawn so much larger and then made smaller, which smooths lines."""
COLOURS = {"least": "#2e7dd1", "chosen": "#3a9a5c", "all kept": "#d1802e"}
INK, GREY, LIGHT = "#202020", "#707070", "#dddddd"
DASH = 10
HEADROOM = 1.08
"""The top of the vertical axis, in highest values."""
TICKS = 6
"""Marks of an axis, at most."""


class Axes(NamedTuple):
    """Where values lie in the picture."""

    most_moved: float
    most_held: float

    def x(self, moved: float) -> float:
        """The column of so many bytes moved."""
        return LEFT + (RIGHT - LEFT) * moved / self.most_moved

    def y(self, held: float) -> float:
        """The row of so many bytes held."""
        return BOTTOM - (BOTTOM - TOP) * held / self.most_held


class Pen:
    """Draws in pixels of the finished picture."""

    def __init__(self, image: Image.Image) -> None:
        self.draw = ImageDraw.Draw(image)

    def line(self, points: Sequence[tuple[float, float]], colour: str, width: float = 1) -> None:
        """A line through points."""
        scaled = [(x * SHARPNESS, y * SHARPNESS) for x, y in points]
        self.draw.line(scaled, colour, round(width * SHARPNESS), joint="curve")

    def write(self, x: float, y: float, text: str, size: int = 13, colour: str = INK, anchor: str = "la") -> None:
        """Text at a point, which `anchor` places as Pillow says."""
        font = ImageFont.load_default(size * SHARPNESS)
        self.draw.text((x * SHARPNESS, y * SHARPNESS), text, colour, font, anchor)


def drawn(report: Report) -> NDArray[np.uint8]:
    """The picture (H,W,3) of the curves of a report."""
    image = Image.new("RGB", (SIZE[0] * SHARPNESS, SIZE[1] * SHARPNESS), "white")
    pen, step, own = Pen(image), report.step, report.backends[0]
    size = f"{step.batch}x{step.frames}x3x{step.crop}x{step.crop}, {step.type}, {own.backend}"
    pen.write(LEFT, 20, f"Memory of a training step of {report.config}, predicted", 22)
    pen.write(LEFT, 52, f"{size}; tensors alone, the most in each segment of the model", colour=GREY)
    if own.why_not is not None:
        pen.write(LEFT, TOP, own.why_not)
    else:
        draw_curves(pen, report)
    return np.asarray(image.resize(SIZE, Image.Resampling.LANCZOS))


def draw_curves(pen: Pen, report: Report) -> None:
    """Axes, curves, their names, and the memory of the GPU."""
    budget = report.fit.budget * GB if report.fit is not None else 0
    highest = max(budget, *(curve.peak for curve in report.curves))
    axes = Axes(max(curve.moved for curve in report.curves), HEADROOM * highest)
    draw_axes(pen, axes, sum(stretch.moved for stretch in report.curves[0].forward))
    for number, curve in enumerate(report.curves):
        colour = COLOURS[curve.name]
        pen.line(outline(axes, curve), colour, 1.6)
        x = LEFT + 20 + 300 * number
        pen.line([(x, 88), (x + 24, 88)], colour, 3)
        pen.write(x + 32, 80, f"{curve.name}: peak {in_gb(curve.peak)} GB")
    if report.fit is not None:
        y = axes.y(budget)
        for x in range(LEFT, RIGHT, 2 * DASH):
            pen.line([(x, y), (min(x + DASH, RIGHT), y)], INK, 1.5)
        text = f"GPU of {report.fit.gpu:g} GB: {report.fit.budget:g} GB for tensors"
        pen.write(RIGHT - 4, y - 4, text, anchor="rd")


def draw_axes(pen: Pen, axes: Axes, forward: int) -> None:
    """Both axes with marks, and where the forward ends."""
    for held in ticks(axes.most_held):
        pen.line([(LEFT, axes.y(held)), (RIGHT, axes.y(held))], LIGHT)
        pen.write(LEFT - 8, axes.y(held), f"{held / GB:g}", anchor="rm")
    for moved in ticks(axes.most_moved):
        pen.line([(axes.x(moved), BOTTOM), (axes.x(moved), BOTTOM + 5)], INK)
        pen.write(axes.x(moved), BOTTOM + 8, f"{moved / GB:g}", anchor="ma")
    pen.line([(LEFT, TOP), (LEFT, BOTTOM), (RIGHT, BOTTOM)], INK)
    pen.write(LEFT, TOP - 6, "GB held", anchor="rd")
    pen.write((LEFT + RIGHT) / 2, BOTTOM + 32, "GB moved since the step began: no time is measured", anchor="ma")
    pen.line([(axes.x(forward), TOP), (axes.x(forward), BOTTOM)], GREY)
    pen.write(axes.x(forward) - 6, BOTTOM - 6, "forward", colour=GREY, anchor="rd")
    pen.write(axes.x(forward) + 6, BOTTOM - 6, "backward", colour=GREY, anchor="ld")


def outline(axes: Axes, curve: Curve) -> list[tuple[float, float]]:
    """The steps of a curve."""
    points, moved = [], 0
    for stretch in curve.all:
        points.append((axes.x(moved), axes.y(stretch.peak)))
        moved += stretch.moved
        points.append((axes.x(moved), axes.y(stretch.peak)))
    return points


def ticks(most: float) -> Iterator[float]:
    """Round values from 0 up to `most` bytes, at most `TICKS` and one."""
    step = 10.0 ** np.floor(np.log10(most / TICKS))
    step *= next(factor for factor in (1, 2, 5, 10) if step * factor * TICKS >= most)
    yield from (float(step * i) for i in range(int(most / step) + 1))
