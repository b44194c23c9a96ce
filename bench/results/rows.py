"""Result rows, one per entry, shape and direction, measured or predicted; and their tables."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from spikevrt.table import format_table

JSON_KEY = "spikevrt_rows"
"""Key of the rows in the JSON file of pytest-benchmark."""
RESULT_COLUMNS = (
    *("entry", "median ms", "p20", "p80", "Mtoken/s", "p20", "p80"),
    *("moved u", "saved u", "peak u", "peak MB", "of predicted"),
)
NO_FIGURE = "-"
SHOWN_GPUS = ("RTX A6000", "H100 SXM")
LEGEND = (
    "u: units of one feature tensor; moved: bytes in and out of every operator; saved: kept for backward; peak: most "
    "held at once beside the leaves; of predicted: a measured peak in units of the predicted one; Mtoken/s: "
    "throughput in million tokens (a pixel of a frame)"
)


@dataclass(frozen=True)
class Row:
    """One result. Times are in seconds, memory and traffic in bytes."""

    operator: str
    shape: str
    direction: str
    entry: str
    dtype: str
    tokens: int
    """Number of pixels of all frames: B*T*H*W."""
    unit: int
    """Bytes of one feature tensor."""
    moved: int
    """Bytes that all operators read and write; for a kernel the bytes that it declares."""
    saved: int | None = None
    """Bytes kept for backward, without parameters; None for a forward without gradients."""
    peak: int | None = None
    """Peak memory, without leaves."""
    peak_source: str = "predicted"
    predicted: int | None = None
    """The predicted peak, if `peak` is measured."""
    seconds: tuple[float, float, float] | None = None
    """20th percentile, median, 80th percentile; None if the entry was not run."""
    error: float | None = None
    """Relative error of the output against float64."""
    counted: float | None = None
    """Traffic in units of a feature tensor, counted by Triton's interpreter."""
    bounds: dict[str, float] = field(default_factory=dict)
    """Predicted seconds by GPU, if nothing was measured."""

    @property
    def comparison(self) -> tuple[str, str, str]:
        """Rows with equal values are compared with each other."""
        return self.operator, self.shape, self.direction

    @property
    def of_predicted(self) -> float | None:
        """Measured peak divided by predicted peak."""
        return self.peak / self.predicted if self.peak and self.predicted else None

    @property
    def rates(self) -> tuple[float, float, float] | None:
        """Throughput in million tokens per second: median, 20th and 80th percentile."""
        if self.seconds is None:
            return None
        fast, median, slow = (self.tokens / s / 1e6 for s in self.seconds)
        return median, slow, fast


def to_json(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Rows as plain values."""
    return [asdict(row) for row in rows]


def from_json(document: Mapping[str, Any]) -> list[Row]:
    """The rows of a file of `pytest bench --benchmark-json`.

    Raises:
        ValueError: the file has no rows.
    """
    found = document.get(JSON_KEY)
    if not found:
        raise ValueError(f"no rows under {JSON_KEY}: make the file with pytest bench --benchmark-only --benchmark-json")
    return [Row(**{**row, "seconds": tuple(row["seconds"]) if row["seconds"] else None}) for row in found]


def by_comparison(rows: Sequence[Row]) -> dict[tuple[str, str, str], list[Row]]:
    """Rows by comparison, in their order."""
    found: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        found.setdefault(row.comparison, []).append(row)
    return found


def figure_cell(value: float | None, digits: int = 1) -> str:
    """A figure as text; a dash for None."""
    return NO_FIGURE if value is None else f"{value:.{digits}f}"


def in_units(value: int | None, row: Row) -> float | None:
    """Bytes in units of one feature tensor."""
    return None if value is None else value / row.unit


def cells(row: Row) -> list[str]:
    """One line of a table."""
    p20, median, p80 = (s * 1e3 for s in row.seconds) if row.seconds else (None, None, None)
    rates = row.rates or (None, None, None)
    return [
        row.entry if row.seconds else f"{row.entry} ({row.dtype}, not run here)",
        *(figure_cell(v, 2) for v in (median, p20, p80)),
        *(figure_cell(v, 2) for v in rates),
        *(figure_cell(in_units(v, row)) for v in (row.moved, row.saved, row.peak)),
        figure_cell(None if row.peak is None else row.peak / 1e6),
        figure_cell(row.of_predicted, 2),
    ]


def proof_line(row: Row) -> str:
    """A line with the predictions of an entry that was not run."""
    bounds = ", ".join(f"{name} {row.bounds[name] * 1e3:.3f} ms" for name in SHOWN_GPUS if name in row.bounds)
    units, source = (in_units(row.moved, row), "declared") if row.counted is None else (row.counted, "counted")
    proof = f"{figure_cell(units)} units {source}, predicted bound: {bounds}"
    return f"  {row.entry}: no GPU here, so proof in place of times: {proof}"


def tables(rows: Sequence[Row]) -> list[str]:
    """The lines of all tables: a title, a table and the predictions of every comparison."""
    lines = []
    for (operator, shape, direction), members in by_comparison(rows).items():
        types = sorted({row.dtype for row in members if row.seconds})
        lines.append(f"{operator}, {shape}, {direction}" + (f", {', '.join(types)}" if types else ""))
        lines.extend(format_table(RESULT_COLUMNS, [cells(row) for row in members]).splitlines())
        lines.extend(proof_line(row) for row in members if row.bounds)
        lines.append("")
    sources = sorted({row.peak_source for row in rows if row.peak is not None})
    return [*lines, LEGEND, *(f"peak: {source}" for source in sources)]
