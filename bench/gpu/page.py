"""The report as a Markdown page, made from the findings that are there so far."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from bench.gpu.part import END, START, WELL, Finding
from spikevrt.table import format_table

GIB = 2**30
Findings = Sequence[Finding]
WRONG_SHOWN = 40
"""Bad findings that are shown; all of them are in results.jsonl."""
TIMING_COLUMNS = ("operator", "shape", "direction", "entry", "ms", "least", "most", "peak GiB")
STEP_COLUMNS = (
    "entry",
    "seconds",
    "host returns after",
    "first step",
    "peak GiB, measured",
    "predicted",
    "measured/predicted",
)
TRAFFIC_COLUMNS = ("operator", "shape", "kernel", "launches", "read MB", "written MB", "declared MB", "moved/declared")


def page(findings: Findings) -> str:
    """The page as Markdown: first what is wrong, then what was measured."""
    sections = [
        ("Machine", lines(of_kind(findings, "machine"))),
        ("Verdict", verdict(findings)),
        ("How its parts ended", endings(findings)),
        (
            "Findings",
            lines(one for one in findings if one.keep and one.kind not in ("machine", "step")),
        ),
        ("One training step", steps_table(findings)),
        ("The longest kernels of a step", lines(of_kind(findings, "kernel"))),
        ("Times of the model's shapes", text_table(TIMING_COLUMNS, map(time_cells, of_kind(findings, "time")))),
        ("Bytes of DRAM", text_table(TRAFFIC_COLUMNS, map(traffic_cells, of_kind(findings, "dram")))),
        ("Comparisons with float64", comparisons(of_kind(findings, "check"))),
    ]
    return "\n".join(["# GPU report\n", *(f"## {title}\n\n{text}\n" for title, text in sections if text)])


def of_kind(findings: Findings, kind: str) -> list[Finding]:
    """The findings of one kind, in their order."""
    return [finding for finding in findings if finding.kind == kind]


def fenced(text: str) -> str:
    """A code block; an empty text stays empty."""
    return f"```\n{text.strip()}\n```" if text.strip() else ""


def lines(findings: Iterable[Finding]) -> str:
    """A code block with a line per finding."""
    return fenced("\n".join(marked(finding) for finding in findings))


def marked(finding: Finding) -> str:
    """The finding's text, marked if it is bad."""
    return ("!! " if finding.bad else "") + finding.text


def text_table(header: Sequence[str], findings: Iterable[Sequence[str]]) -> str:
    """A code block with a table; empty if there are no rows."""
    found = list(findings)
    return fenced(format_table(header, found)) if found else ""


def verdict(findings: Findings) -> str:
    """How many comparisons are right, the one nearest to its limit, and the bad findings."""
    checks, wrong = of_kind(findings, "check"), [finding for finding in findings if finding.bad and finding.kind != END]
    count = f"{len(checks)} comparisons with float64, {sum(finding.bad for finding in checks)} of them wrong."
    nearest = max(checks, key=lambda finding: number(finding.figures.get("excess")), default=None)
    said = "" if nearest is None else f"\n\nNearest to what is allowed: {number(nearest.figures['excess']):.2f} of it, "
    said += "" if nearest is None else nearest.text
    return f"{count}{said}\n\n{lines(wrong[:WRONG_SHOWN])}".strip()


def number(value: Any) -> float:
    """A figure as float; infinity if it is missing or not a number."""
    return float("inf") if not isinstance(value, int | float) or value != value else float(value)


def endings(findings: Findings) -> str:
    """Parts that failed, and parts that had not ended when the page was written."""
    ended = {finding.part: finding for finding in of_kind(findings, END)}
    running = [finding.part for finding in of_kind(findings, START) if finding.part not in ended]
    well = sum(finding.text == WELL for finding in ended.values())
    found = [f"{well} of {len(ended) + len(running)} processes ended well."]
    found += [f"{part}: {finding.text}" for part, finding in ended.items() if finding.text != WELL]
    return fenced("\n".join(found + [f"{part}: not ended yet" for part in running]))


def comparisons(checks: Findings) -> str:
    """A table of all checked cases with their errors, in units of the allowed error."""
    cells = ((check.part, check.text, f"{number(check.figures.get('excess')):.2f}") for check in checks)
    return text_table(("part", "case", "excess"), cells)


def steps_table(findings: Findings) -> str:
    """A table of the training step by backend, with measured and predicted peak memory."""
    predicted = {finding.figures["entry"]: finding.figures["bytes"] for finding in of_kind(findings, "peak")}
    measured = {finding.figures["entry"]: finding.figures for finding in of_kind(findings, "step")}
    entries = [*measured, *(entry for entry in predicted if entry not in measured)]
    return text_table(
        STEP_COLUMNS, (step_cells(entry, measured.get(entry, {}), predicted.get(entry)) for entry in entries)
    )


def step_cells(entry: str, figures: dict[str, Any], predicted: int | None) -> tuple[str, ...]:
    """One line of the table of training steps."""
    peak = figures.get("peak")
    times = [shown(figures.get(name), "{:.3f}") for name in ("seconds", "host", "first")]
    ratio = peak / predicted if peak and predicted else None
    return entry, *times, gib(peak), gib(predicted), shown(ratio, "{:.2f}")


def time_cells(finding: Finding) -> tuple[str, ...]:
    """One line of the table of times."""
    names = [str(finding.figures[name]) for name in ("op", "shape", "direction", "entry")]
    return (
        *names,
        *(shown(finding.figures[name], "{:.3f}") for name in ("ms", "least", "most")),
        gib(finding.figures["peak"]),
    )


def traffic_cells(finding: Finding) -> tuple[str, ...]:
    """One line of the table of bytes."""
    f = finding.figures
    names = [str(f[name]) for name in ("op", "shape", "kernel", "launches")]
    moved, declared = f["read"] + f["written"], f.get("declared")
    ratio = moved / declared if declared else None
    return *names, *(shown(f.get(n), "{:.1f}", 1e6) for n in ("read", "written", "declared")), shown(ratio, "{:.2f}")


def shown(value: float | None, form: str, unit: float = 1.0) -> str:
    """A figure as text; a dash for None."""
    return "-" if value is None else form.format(value / unit)


def gib(size: int | None) -> str:
    """Bytes as text in GiB; a dash for None."""
    return shown(size, "{:.2f}", GIB)


def closing(findings: Findings, seconds: float, say: Callable[[str], None]) -> None:
    """Print a summary of the findings."""
    say("==== summary")
    for text in (
        verdict(findings),
        endings(findings),
        lines(finding for finding in findings if finding.keep),
        steps_table(findings),
    ):
        for line in text.replace("```", "").splitlines():
            if line.strip():
                say(line[:200])
    say(f"{seconds:.0f} s in all")
