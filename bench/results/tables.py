"""Rows as tables: one a comparison, and below it what the proof of the Triton entry says."""

from collections.abc import Sequence

from bench.results.rows import Row, groups
from spikevrt.table import format_table

TIMES, MEMORY = ("median ms", "p20", "p80", "Mtoken/s", "p20", "p80"), ("moved u", "saved u", "peak u", "peak MB")
HEADER = ("entry", *TIMES, *MEMORY, "of predicted")
NOTHING = "-"
SHOWN_GPUS = ("RTX A6000", "H100 SXM")
LEGEND = (
    "u: units of one feature tensor; moved: bytes in and out of every operator; saved: kept for backward; peak: most "
    "held at once beside the leaves; of predicted: a measured peak in units of the predicted one; Mtoken/s: "
    "throughput in million tokens (a pixel of a frame)"
)


def number(value: float | None, digits: int = 1) -> str:
    """A figure, or a dash where there is none."""
    return NOTHING if value is None else f"{value:.{digits}f}"


def in_units(value: int | None, row: Row) -> float | None:
    """Bytes in units of one feature tensor."""
    return None if value is None else value / row.unit


def cells(row: Row) -> list[str]:
    """One line of a table."""
    p20, median, p80 = (s * 1e3 for s in row.seconds) if row.seconds else (None, None, None)
    rates = row.rates or (None, None, None)
    return [
        row.entry if row.seconds else f"{row.entry} ({row.dtype}, not run here)",
        *(number(v, 2) for v in (median, p20, p80)),
        *(number(v, 2) for v in rates),
        *(number(in_units(v, row)) for v in (row.moved, row.saved, row.peak)),
        number(None if row.peak is None else row.peak / 1e6),
        number(row.of_predicted, 2),
    ]


def proof_line(row: Row) -> str:
    """What stands in place of times."""
    bounds = ", ".join(f"{name} {row.bounds[name] * 1e3:.3f} ms" for name in SHOWN_GPUS if name in row.bounds)
    units, source = (in_units(row.moved, row), "declared") if row.counted is None else (row.counted, "counted")
    proof = f"{number(units)} units {source}, predicted bound: {bounds}"
    return f"  {row.entry}: no GPU here, so proof in place of times: {proof}"


def tables(rows: Sequence[Row]) -> list[str]:
    """Lines: a title, a table and the proof of every comparison."""
    lines = []
    for (operator, shape, direction), members in groups(rows).items():
        types = sorted({row.dtype for row in members if row.seconds})
        lines.append(f"{operator}, {shape}, {direction}" + (f", {', '.join(types)}" if types else ""))
        lines.extend(format_table(HEADER, [cells(row) for row in members]).splitlines())
        lines.extend(proof_line(row) for row in members if row.bounds)
        lines.append("")
    sources = sorted({row.peak_source for row in rows if row.peak is not None})
    return [*lines, LEGEND, *(f"peak: {source}" for source in sources)]
