"""A row of the report: what one part found, kept as a line of JSON."""

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any

START, END = "start", "end"
"""Kinds of the rows that the board writes itself; those of parts: machine, check, time, step, peak, dram, note."""
WELL, NO_TIME = "ended well", "no time left"
"""How a part may have ended; any other way is in the words of its process."""


@dataclass(frozen=True)
class ReportRow:
    """One finding."""

    kind: str
    text: str = ""
    """For people, one line."""
    bad: bool = False
    """Something is wrong, or failed."""
    keep: bool = False
    """Repeated at the end."""
    figures: dict[str, Any] = field(default_factory=dict)
    """For machines: seconds, bytes, ratios."""
    part: str = ""
    """Which process said it."""
    at: float = 0.0
    """Seconds since the report began."""

    def of(self, part: str, at: float) -> "ReportRow":
        """The same row with its origin."""
        return replace(self, part=part, at=round(at, 1))

    def line(self) -> str:
        """As JSON, without a line break."""
        return json.dumps(asdict(self), default=str)


def row_of(kind: str, text: str = "", bad: bool = False, keep: bool = False, **figures: Any) -> ReportRow:
    """A row with its figures by name."""
    return ReportRow(kind, text, bad, keep, figures)


def read_row(line: str) -> ReportRow | None:
    """The row of a line of results.jsonl, or None where the line is cut off or something else."""
    try:
        return ReportRow(**json.loads(line))
    except (ValueError, TypeError):
        return None
