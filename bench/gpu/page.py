"""The page of a report, made of its rows alone: whatever is there when it is cut off."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from bench.gpu.rows import END, START, WELL, ReportRow
from spikevrt.table import format_table

GIB = 2**30
Rows = Sequence[ReportRow]
WORST = 40
"""Wrong rows that are shown; all of them stand in results.jsonl."""
TIMES = ("operator", "shape", "direction", "entry", "ms", "least", "most", "peak GiB")
STEPS = (
    "entry",
    "seconds",
    "host returns after",
    "first step",
    "peak GiB, measured",
    "predicted",
    "measured/predicted",
)
TRAFFIC = ("operator", "shape", "kernel", "launches", "read MB", "written MB", "declared MB", "moved/declared")


def page(rows: Rows) -> str:
    """Markdown: what is wrong first, then what was measured."""
    sections = [
        ("Machine", lines(of_kind(rows, "machine"))),
        ("Verdict", verdict(rows)),
        ("How its parts ended", endings(rows)),
        ("Findings", lines(row for row in rows if row.keep and row.kind not in ("machine", "step"))),
        ("One training step", steps_table(rows)),
        ("The longest kernels of a step", lines(of_kind(rows, "kernel"))),
        ("Times of the model's shapes", table(TIMES, map(time_cells, of_kind(rows, "time")))),
        ("Bytes of DRAM", table(TRAFFIC, map(traffic_cells, of_kind(rows, "dram")))),
        ("Comparisons with float64", comparisons(of_kind(rows, "check"))),
    ]
    return "\n".join(["# GPU report\n", *(f"## {title}\n\n{text}\n" for title, text in sections if text)])


def of_kind(rows: Rows, kind: str) -> list[ReportRow]:
    """The rows of a kind, in their order."""
    return [row for row in rows if row.kind == kind]


def fenced(text: str) -> str:
    """Text as it was printed; nothing where there is none."""
    return f"```\n{text.strip()}\n```" if text.strip() else ""


def lines(rows: Iterable[ReportRow]) -> str:
    """A row a line."""
    return fenced("\n".join(marked(row) for row in rows))


def marked(row: ReportRow) -> str:
    """The row's text, marked where it is bad."""
    return ("!! " if row.bad else "") + row.text


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; nothing where it has no rows."""
    found = list(rows)
    return fenced(format_table(header, found)) if found else ""


def verdict(rows: Rows) -> str:
    """Whether everything that was tried is right, and every row that is not."""
    checks, wrong = of_kind(rows, "check"), [row for row in rows if row.bad and row.kind != END]
    count = f"{len(checks)} comparisons with float64, {sum(row.bad for row in checks)} of them wrong."
    nearest = max(checks, key=lambda row: number(row.figures.get("excess")), default=None)
    said = "" if nearest is None else f"\n\nNearest to what is allowed: {number(nearest.figures['excess']):.2f} of it, "
    said += "" if nearest is None else nearest.text
    return f"{count}{said}\n\n{lines(wrong[:WORST])}".strip()


def number(value: Any) -> float:
    """A figure of a row; one that is missing or no number is beyond all others."""
    return float("inf") if not isinstance(value, int | float) or value != value else float(value)


def endings(rows: Rows) -> str:
    """The parts that did not end well, and those that had not ended when the page was written."""
    ended = {row.part: row for row in of_kind(rows, END)}
    running = [row.part for row in of_kind(rows, START) if row.part not in ended]
    well = sum(row.text == WELL for row in ended.values())
    found = [f"{well} of {len(ended) + len(running)} processes ended well."]
    found += [f"{part}: {row.text}" for part, row in ended.items() if row.text != WELL]
    return fenced("\n".join(found + [f"{part}: not ended yet" for part in running]))


def comparisons(rows: Rows) -> str:
    """The errors of every case, beside what is allowed."""
    return table(
        ("part", "case", "excess"), ((row.part, row.text, f"{number(row.figures.get('excess')):.2f}") for row in rows)
    )


def steps_table(rows: Rows) -> str:
    """One training step by backend, its peak measured beside predicted."""
    predicted = {row.figures["entry"]: row.figures["bytes"] for row in of_kind(rows, "peak")}
    measured = {row.figures["entry"]: row.figures for row in of_kind(rows, "step")}
    entries = [*measured, *(entry for entry in predicted if entry not in measured)]
    return table(STEPS, (step_cells(entry, measured.get(entry, {}), predicted.get(entry)) for entry in entries))


def step_cells(entry: str, figures: dict[str, Any], predicted: int | None) -> tuple[str, ...]:
    """One line of that table."""
    peak = figures.get("peak")
    times = [shown(figures.get(name), "{:.3f}") for name in ("seconds", "host", "first")]
    ratio = peak / predicted if peak and predicted else None
    return entry, *times, gib(peak), gib(predicted), shown(ratio, "{:.2f}")


def time_cells(row: ReportRow) -> tuple[str, ...]:
    """One line of the table of times."""
    names = [str(row.figures[name]) for name in ("op", "shape", "direction", "entry")]
    return *names, *(shown(row.figures[name], "{:.3f}") for name in ("ms", "least", "most")), gib(row.figures["peak"])


def traffic_cells(row: ReportRow) -> tuple[str, ...]:
    """One line of the table of bytes."""
    f = row.figures
    names = [str(f[name]) for name in ("op", "shape", "kernel", "launches")]
    moved, declared = f["read"] + f["written"], f.get("declared")
    ratio = moved / declared if declared else None
    return *names, *(shown(f.get(n), "{:.1f}", 1e6) for n in ("read", "written", "declared")), shown(ratio, "{:.2f}")


def shown(value: float | None, form: str, unit: float = 1.0) -> str:
    """A figure, or a dash where there is none."""
    return "-" if value is None else form.format(value / unit)


def gib(size: int | None) -> str:
    """Bytes as GiB."""
    return shown(size, "{:.2f}", GIB)


def closing(rows: Rows, seconds: float, say: Callable[[str], None]) -> None:
    """The last lines on the screen: what matters, once more."""
    say("==== summary")
    for text in (verdict(rows), endings(rows), lines(row for row in rows if row.keep), steps_table(rows)):
        for line in text.replace("```", "").splitlines():
            if line.strip():
                say(line[:200])
    say(f"{seconds:.0f} s in all")
