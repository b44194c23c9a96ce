"""Formats tables as plain text."""

from collections.abc import Sequence

NUMERIC = "0123456789+-."


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Align columns: text to the left, numbers to the right."""
    columns = list(zip(header, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    numbers = [i > 0 and all(not cell or cell[0] in NUMERIC for cell in c[1:]) for i, c in enumerate(columns)]

    def line(row: Sequence[str]) -> str:
        cells = zip(row, widths, numbers, strict=True)
        return "  ".join(c.rjust(w) if number else c.ljust(w) for c, w, number in cells).rstrip()

    return "\n".join([line(header), "  ".join("-" * w for w in widths), *(line(row) for row in rows)])
