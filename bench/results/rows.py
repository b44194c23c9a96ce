"""A row of the comparison: what one entry did on one shape in one direction, measured or proved."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

JSON_KEY = "spikevrt_rows"
"""Where pytest-benchmark's file holds the rows."""


@dataclass(frozen=True)
class Row:
    """Times in seconds, memory and traffic in bytes."""

    operator: str
    shape: str
    direction: str
    entry: str
    dtype: str
    tokens: int
    """B*T*H*W."""
    unit: int
    """Bytes of one feature tensor."""
    moved: int
    """Bytes in and out of every operator; of a kernel, what it declares."""
    saved: int | None = None
    """Kept for backward, parameters apart; None in a forward without gradients."""
    peak: int | None = None
    """The most that is allocated at once, leaves apart."""
    peak_source: str = "predicted"
    predicted: int | None = None
    """What was predicted of a peak that is measured."""
    seconds: tuple[float, float, float] | None = None
    """p20, median, p80; None where the entry was not run."""
    error: float | None = None
    """Of the output, relative to float64."""
    counted: float | None = None
    """Units that Triton's interpreter counted."""
    bounds: dict[str, float] = field(default_factory=dict)
    """Predicted seconds by GPU, where nothing was measured."""

    @property
    def group(self) -> tuple[str, str, str]:
        """Rows of a group are comparable."""
        return self.operator, self.shape, self.direction

    @property
    def of_predicted(self) -> float | None:
        """The measured peak in units of the predicted one."""
        return self.peak / self.predicted if self.peak and self.predicted else None

    @property
    def rates(self) -> tuple[float, float, float] | None:
        """Throughput in million tokens a second: median, p20, p80."""
        if self.seconds is None:
            return None
        fast, median, slow = (self.tokens / s / 1e6 for s in self.seconds)
        return median, slow, fast


def to_json(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Plain values."""
    return [asdict(row) for row in rows]


def from_json(document: Mapping[str, Any]) -> list[Row]:
    """The rows of a file of `pytest bench --benchmark-json`.

    Raises:
        ValueError: the file holds none.
    """
    found = document.get(JSON_KEY)
    if not found:
        raise ValueError(f"no rows under {JSON_KEY}: make the file with pytest bench --benchmark-only --benchmark-json")
    return [Row(**{**row, "seconds": tuple(row["seconds"]) if row["seconds"] else None}) for row in found]


def groups(rows: Sequence[Row]) -> dict[tuple[str, str, str], list[Row]]:
    """Rows by group, in their order."""
    found: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        found.setdefault(row.group, []).append(row)
    return found
