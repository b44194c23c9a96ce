"""Rows as a picture: for every comparison a bar of time and a bar of memory an entry."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from bench.rows import Row, groups
from bench.tables import SHOWN_GPUS, in_units

WIDTH, MARGIN, NAME = 1180, 16, 96
BAR, GAP, TITLE, TEXT = 16, 6, 28, 13
PANEL = (WIDTH - NAME - 3 * MARGIN) // 2
"""Width of the half for time, and of that for memory."""
LABEL = 190
"""Of it, room for the figures beside a bar."""
COLOURS = {"published": "#8c8c8c", "naive": "#d1802e", "sdpa": "#2e7dd1", "triton": "#3a9a5c"}
LIGHT = {"published": "#dcdcdc", "naive": "#f3d9bf", "sdpa": "#c3daf3", "triton": "#c7e5d1"}
INK, LINE = "#202020", "#505050"


def chart(rows: Sequence[Row], notes: Sequence[str] = ()) -> Image.Image:
    """A picture as tall as there are comparisons; `notes` stand on top (machine, sizes)."""
    members = groups(rows)
    height = sum(group_height(len(found)) for found in members.values())
    top = MARGIN + (len(notes) + 1) * (TEXT + GAP)
    image = Image.new("RGB", (WIDTH, top + height + MARGIN), "white")
    draw = ImageDraw.Draw(image)
    legend = "left: median time, whiskers p20-p80; right: peak memory (light) and saved for backward (dark), in units"
    for i, line in enumerate((*notes, legend)):
        write(draw, MARGIN, MARGIN + i * (TEXT + GAP), line)
    for (operator, shape, direction), found in members.items():
        write(draw, MARGIN, top + GAP, f"{operator}, {shape}, {direction}", TEXT + 2)
        draw_group(draw, top + TITLE, found)
        top += group_height(len(found))
    return image


def group_height(members: int) -> int:
    """Pixels of a comparison."""
    return TITLE + members * (BAR + GAP) + 2 * GAP


def draw_group(draw: ImageDraw.ImageDraw, top: int, rows: Sequence[Row]) -> None:
    """The bars of one comparison, to the scale of its largest."""
    slowest = max((row.seconds[2] for row in rows if row.seconds), default=0.0)
    largest = max((in_units(row.peak or row.saved, row) or 0.0 for row in rows), default=0.0)
    for i, row in enumerate(rows):
        y = top + i * (BAR + GAP)
        write(draw, MARGIN, y + 1, row.entry)
        draw_time(draw, MARGIN + NAME, y, row, slowest)
        draw_memory(draw, 2 * MARGIN + NAME + PANEL, y, row, largest)


def draw_time(draw: ImageDraw.ImageDraw, x: int, y: int, row: Row, slowest: float) -> None:
    """A bar with whiskers, or in words what was predicted in its place."""
    if row.seconds is None:
        bounds = ", ".join(f"{name} {row.bounds[name] * 1e3:.3f}" for name in SHOWN_GPUS if name in row.bounds)
        write(draw, x, y + 1, f"not run here; predicted ms: {bounds}")
        return
    p20, median, p80 = ((PANEL - LABEL) * s / slowest for s in row.seconds)
    draw.rectangle((x, y, x + median, y + BAR), COLOURS[row.entry])
    middle = y + BAR // 2
    draw.line((x + p20, middle, x + p80, middle), LINE, 1)
    for end in (p20, p80):
        draw.line((x + end, middle - 3, x + end, middle + 3), LINE, 1)
    write(draw, x + round(max(median, p80)) + GAP, y + 1, f"{row.seconds[1] * 1e3:.2f} ms")


def draw_memory(draw: ImageDraw.ImageDraw, x: int, y: int, row: Row, largest: float) -> None:
    """Peak, and inside it what is saved."""
    end, words = 0.0, []
    for value, colours, what in ((row.peak, LIGHT, "peak"), (row.saved, COLOURS, "saved")):
        units = in_units(value, row)
        if units is None:
            continue
        length = (PANEL - LABEL) * units / largest if largest else 0.0
        draw.rectangle((x, y, x + length, y + BAR), colours[row.entry])
        end = max(end, length)
        words.append(f"{what} {units:.1f}")
    write(draw, x + round(end) + GAP, y + 1, ", ".join(words))


def write(draw: ImageDraw.ImageDraw, x: int, y: int, text: str, size: int = TEXT) -> None:
    """Text whose upper left corner is (x,y)."""
    draw.text((x, y), text, INK, ImageFont.load_default(size))
