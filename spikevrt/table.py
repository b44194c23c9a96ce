"""Formats tables as plain text and as Markdown."""

from collections.abc import Sequence

NUMERIC = "0123456789+-."


def numeric(columns: Sequence[Sequence[str]]) -> list[bool]:
    """Which columns, each with its header, hold numbers; the first one never does."""
    return [i > 0 and all(not cell or cell[0] in NUMERIC for cell in c[1:]) for i, c in enumerate(columns)]


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The table for a Markdown document."""
    kinds = ["---:" if number else "---" for number in numeric(list(zip(header, *rows, strict=True)))]
    lines = [[cell.replace("|", "\\|") for cell in row] for row in (header, kinds, *rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Align columns: text to the left, numbers to the right."""
    columns = list(zip(header, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    numbers = numeric(columns)

    def line(row: Sequence[str]) -> str:
        cells = zip(row, widths, numbers, strict=True)
        return "  ".join(c.rjust(w) if number else c.ljust(w) for c, w, number in cells).rstrip()

    return "\n".join([line(header), "  ".join("-" * w for w in widths), *(line(row) for row in rows)])
