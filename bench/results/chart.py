"""Draws benchmark rows as a PNG: a section per operator, a line of panels per shape, a time or memory bar per entry."""

from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont

from bench.results.rows import SHOWN_GPUS, Row, by_comparison, in_units
from bench.workloads.workload import DIRECTIONS

TEXT_SIZE = 13
"""Size of text in pixels."""
COLOURS = {"published": "#7a7a7a", "naive": "#d1802e", "sdpa": "#2e7dd1", "triton": "#3a9a5c"}
LIGHT_COLOURS = {"published": "#d4d4d4", "naive": "#f3d9bf", "sdpa": "#c3daf3", "triton": "#c7e5d1"}
INK, GREY = "#202020", "#606060"
MARGIN, NAME_WIDTH, GUTTER = 24, 92, 28
TIME_WIDTH, MEMORY_WIDTH = 400, 350
"""Widths of the panels of time and of memory."""
TIME_LABEL_WIDTH, MEMORY_LABEL_WIDTH = 160, 180
"""Parts of these widths that are left for the figures beside a bar."""
DIRECTION_WIDTH = TIME_WIDTH + MEMORY_WIDTH + 2 * GUTTER
PICTURE_WIDTH = 2 * MARGIN + NAME_WIDTH + len(DIRECTIONS) * DIRECTION_WIDTH - GUTTER
BAR_HEIGHT, LINE_HEIGHT = 16, 22
"""Heights of a bar and of its line."""
SECTION_HEIGHT, SHAPE_HEIGHT, SHAPE_GAP = 60, 26, 10
"""Heights of an operator's heading, of a shape's heading, and of the space below a shape."""
EXPLANATION = (
    "Shapes: BxCxTxHxW along time, TxHxWxC in windows. Bars start at zero; those of one panel share a scale, and each "
    "panel has its own. Shorter is better.",
    "Time: median, whiskers from the 20th to the 80th percentile; x: how many times as fast as naive. What was not "
    "run (no GPU here) has a predicted bound in place of a time.",
    "Memory: the most held at once beside inputs and weights (light); kept for backward, inputs included (dark). In "
    "units of one feature tensor of the entry's type.",
)
Panels = dict[str, list[Row]]
"""The rows of one shape by direction."""


def write(draw: ImageDraw.ImageDraw, x: int, y: int, text: str, size: int = TEXT_SIZE, colour: str = INK) -> None:
    """Write text with its upper left corner at (x,y)."""
    draw.text((x, y), text, colour, ImageFont.load_default(size))


def text_width(draw: ImageDraw.ImageDraw, text: str, size: int = TEXT_SIZE) -> int:
    """Width of `text` in pixels."""
    return round(draw.textlength(text, ImageFont.load_default(size)))


def bar(draw: ImageDraw.ImageDraw, x: int, y: int, length: int, height: int, colour: str) -> None:
    """Draw a bar that starts at x; it is at least one pixel long."""
    draw.rectangle((x, y, x + max(length, 1) - 1, y + height - 1), colour)


def whiskers(draw: ImageDraw.ImageDraw, start: int, end: int, y: int) -> None:
    """Draw whiskers from `start` to `end`."""
    draw.line((start, y, end, y), INK, 1)
    for x in (start, end):
        draw.line((x, y - 4, x, y + 4), INK, 1)


def chart(rows: Sequence[Row], notes: Sequence[str] = ()) -> Image.Image:
    """The picture of all rows, with `notes` (machine, sizes) at the top; its height grows with the number of shapes."""
    sections = by_operator(rows)
    shapes = [panels for section in sections.values() for panels in section.values()]
    top = MARGIN + 30 + (len(notes) + len(EXPLANATION) + 1) * LINE_HEIGHT + SHAPE_GAP
    height = top + SECTION_HEIGHT * len(sections) + sum(map(shape_height, shapes)) + MARGIN
    image = Image.new("RGB", (PICTURE_WIDTH, height), "white")
    draw = ImageDraw.Draw(image)
    draw_head(draw, rows, notes)
    for operator, section in sections.items():
        draw_heading(draw, top, operator, rows)
        top += SECTION_HEIGHT
        for shape, panels in section.items():
            draw_shape(draw, top, shape, panels)
            top += shape_height(panels)
    return image


def by_operator(rows: Sequence[Row]) -> dict[str, dict[str, Panels]]:
    """Panels by operator and shape, in the order of the rows."""
    found: dict[str, dict[str, Panels]] = {}
    for (operator, shape, direction), members in by_comparison(rows).items():
        found.setdefault(operator, {}).setdefault(shape, {})[direction] = members
    return found


def entries_of_shape(panels: Panels) -> list[str]:
    """The entries of a shape, of all directions."""
    return list(dict.fromkeys(row.entry for rows in panels.values() for row in rows))


def shape_height(panels: Panels) -> int:
    """Height of a shape in pixels."""
    return SHAPE_HEIGHT + LINE_HEIGHT * len(entries_of_shape(panels)) + SHAPE_GAP


def draw_head(draw: ImageDraw.ImageDraw, rows: Sequence[Row], notes: Sequence[str]) -> None:
    """Draw the title, the notes, the legend of colours and the explanation."""
    write(draw, MARGIN, MARGIN - 6, "Time and memory by attention backend", 22)
    y = MARGIN + 30
    for line in notes:
        write(draw, MARGIN, y, line, colour=GREY)
        y += LINE_HEIGHT
    x = MARGIN
    for entry in [e for e in COLOURS if any(row.entry == e for row in rows)]:
        bar(draw, x, y, BAR_HEIGHT, BAR_HEIGHT, COLOURS[entry])
        bar(draw, x + BAR_HEIGHT, y, BAR_HEIGHT, BAR_HEIGHT, LIGHT_COLOURS[entry])
        write(draw, x + 2 * BAR_HEIGHT + 6, y + 1, entry)
        x += 2 * BAR_HEIGHT + 30 + text_width(draw, entry)
    for line in EXPLANATION:
        y += LINE_HEIGHT
        write(draw, MARGIN, y, line)


def draw_heading(draw: ImageDraw.ImageDraw, top: int, operator: str, rows: Sequence[Row]) -> None:
    """Draw the heading of an operator and of its columns."""
    draw.line((MARGIN, top, PICTURE_WIDTH - MARGIN, top), GREY, 1)
    write(draw, MARGIN, top + 8, operator[0].upper() + operator[1:], 18)
    sources = " and ".join(sorted({row.peak_source for row in rows if row.peak is not None}))
    for i, direction in enumerate(DIRECTIONS):
        x = column(i)
        write(draw, x, top + 36, f"{direction}: time, ms", colour=GREY)
        write(draw, x + TIME_WIDTH + GUTTER, top + 36, f"{direction}: memory, units ({sources})", colour=GREY)


def column(direction: int) -> int:
    """The x where a direction's panels start."""
    return MARGIN + NAME_WIDTH + direction * DIRECTION_WIDTH


def draw_shape(draw: ImageDraw.ImageDraw, top: int, shape: str, panels: Panels) -> None:
    """Draw the panels of one shape."""
    write(draw, MARGIN, top + 4, shape, TEXT_SIZE + 1)
    top += SHAPE_HEIGHT
    places = {entry: top + i * LINE_HEIGHT for i, entry in enumerate(entries_of_shape(panels))}
    for entry, y in places.items():
        write(draw, MARGIN, y + 1, entry)
    for direction, rows in panels.items():
        x = column(DIRECTIONS.index(direction))
        for panel in (x, x + TIME_WIDTH + GUTTER):
            draw.line((panel - 1, top - 3, panel - 1, max(places.values()) + BAR_HEIGHT + 3), INK, 1)
        draw_times(draw, x, places, rows)
        draw_memory(draw, x + TIME_WIDTH + GUTTER, places, rows)


def draw_times(draw: ImageDraw.ImageDraw, x: int, places: Mapping[str, int], rows: Sequence[Row]) -> None:
    """Draw time bars with whiskers, or predictions as text; `places` has the y of every entry."""
    slowest = max((max(row.seconds) for row in rows if row.seconds), default=0.0)
    naive = next((row.seconds[1] for row in rows if row.entry == "naive" and row.seconds), None)
    for row in rows:
        y = places[row.entry]
        if row.seconds is None:
            write(draw, x + 6, y + 1, predicted_text(row), colour=GREY)
            continue
        p20, median, p80 = (round((TIME_WIDTH - TIME_LABEL_WIDTH) * s / slowest) for s in row.seconds)
        bar(draw, x, y, median, BAR_HEIGHT, COLOURS[row.entry])
        whiskers(draw, x + p20, x + p80, y + BAR_HEIGHT // 2)
        ratio = "" if naive is None or row.entry == "naive" else f"   {naive / row.seconds[1]:.1f}x"
        write(draw, x + max(median, p80) + 8, y + 1, f"{short(row.seconds[1] * 1e3)} ms{ratio}")


def predicted_text(row: Row) -> str:
    """The text for an entry without a measured time."""
    bounds = ", ".join(f"{name} {short(row.bounds[name] * 1e3)} ms" for name in SHOWN_GPUS if name in row.bounds)
    return f"not run; predicted: {bounds}" if bounds else "not run"


def draw_memory(draw: ImageDraw.ImageDraw, x: int, places: Mapping[str, int], rows: Sequence[Row]) -> None:
    """Draw a bar of the peak memory, and in front of it one of the saved memory."""
    largest = max((in_units(row.peak or row.saved, row) or 0.0 for row in rows), default=0.0)
    for row in rows:
        y, end, words = places[row.entry], 0, []
        for value, colours, what in ((row.peak, LIGHT_COLOURS, "peak"), (row.saved, COLOURS, "saved")):
            units = in_units(value, row)
            if units is None:
                continue
            length = round((MEMORY_WIDTH - MEMORY_LABEL_WIDTH) * units / largest) if largest else 0
            bar(draw, x, y, length, BAR_HEIGHT, colours[row.entry])
            end = max(end, length)
            words.append(f"{what} {units:.1f}")
        write(draw, x + end + 8, y + 1, ", ".join(words))


def short(value: float) -> str:
    """The value with about three digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2g}"
