"""What the picture is drawn with."""

from PIL import ImageDraw, ImageFont

SIZE = 13
"""Of text, in pixels."""
COLOURS = {"published": "#7a7a7a", "naive": "#d1802e", "sdpa": "#2e7dd1", "triton": "#3a9a5c"}
LIGHT = {"published": "#d4d4d4", "naive": "#f3d9bf", "sdpa": "#c3daf3", "triton": "#c7e5d1"}
INK, GREY = "#202020", "#606060"


def write(draw: ImageDraw.ImageDraw, x: int, y: int, text: str, size: int = SIZE, colour: str = INK) -> None:
    """Text whose upper left corner is (x,y)."""
    draw.text((x, y), text, colour, ImageFont.load_default(size))


def text_width(draw: ImageDraw.ImageDraw, text: str, size: int = SIZE) -> int:
    """Pixels that `text` takes."""
    return round(draw.textlength(text, ImageFont.load_default(size)))


def bar(draw: ImageDraw.ImageDraw, x: int, y: int, length: int, height: int, colour: str) -> None:
    """A bar from x on; one that would be thinner than a pixel is drawn one wide."""
    draw.rectangle((x, y, x + max(length, 1) - 1, y + height - 1), colour)


def whiskers(draw: ImageDraw.ImageDraw, start: int, end: int, y: int) -> None:
    """A span with its ends."""
    draw.line((start, y, end, y), INK, 1)
    for x in (start, end):
        draw.line((x, y - 4, x, y + 4), INK, 1)
