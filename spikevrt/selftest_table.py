"""The self-test in words: a table, what could not be tested, what is wrong."""

from collections.abc import Iterable, Sequence

import torch

from spikevrt.table import format_table
from spikevrt_kernels.backends import TRITON_OPS
from spikevrt_kernels.checks.comparison import Error, ratio
from spikevrt_kernels.checks.operators import OPERATORS
from spikevrt_kernels.checks.selftest import why_no_kernels
from spikevrt_kernels.checks.trials import RIGHT, WRONG, Row
from spikevrt_kernels.launches import interpreted

HEADER = ("operator", "type", "backend", "output error", "worst gradient", "ms", "reference ms", "verdict")
INTERPRETER = "TRITON_INTERPRET=1 python -m spikevrt.selftest tries small ones in Triton's interpreter"


def table(rows: Sequence[Row]) -> str:
    """A line a trial."""
    lines = [
        (
            f"{row.case.op} {row.case.shape}",
            row.precision.name,
            row.backend,
            error_text(row.comparison.out if row.comparison else None),
            error_text(row.comparison.worst_gradient if row.comparison else None),
            milliseconds(row.seconds),
            milliseconds(row.reference_seconds),
            row.verdict,
        )
        for row in rows
    ]
    return format_table(HEADER, lines)


def error_text(error: Error | None) -> str:
    """`1.2e-07 of 1.0e-06`: the error and what is allowed; of the worst row where that is nearer to it."""
    if error is None:
        return "-"
    if ratio(error.row, error.row_allowed) > ratio(error.error, error.allowed):
        return f"{error.row:.1e} of {error.row_allowed:.1e} in a row"
    return f"{error.error:.1e} of {error.allowed:.1e}"


def milliseconds(seconds: float | None) -> str:
    """`0.123`."""
    return "-" if seconds is None else f"{1e3 * seconds:.3f}"


def untested(device: torch.device, ops: Iterable[str]) -> list[str]:
    """One line about each thing that this machine could not test, and why; empty on a GPU that can run all."""
    kernels = ", ".join(op for op in ops if op in TRITON_OPS)
    missing = [op for op in ops if "triton" in OPERATORS[op].backends and op not in TRITON_OPS]
    lines = [f"{op} has no Triton kernel in this version" for op in missing]
    reason = why_no_kernels(device)
    if reason is not None and kernels:
        lines.append(f"not tested here: the Triton kernels of {kernels}: {reason}; {INTERPRETER}")
    elif kernels and interpreted():
        lines.append(
            "not tested here: bfloat16, large shapes and the speed of Triton kernels, which need a CUDA device"
        )
    return lines


def summary(rows: Sequence[Row]) -> list[str]:
    """What is wrong, one line each, and the count."""
    lines = [
        f"{row.case.op} {row.case.shape} in {row.precision.name}, {row.backend}: {row.reason}"
        for row in rows
        if row.reason is not None
    ]
    wrong, right = (sum(row.verdict == verdict for row in rows) for verdict in (WRONG, RIGHT))
    others = len(rows) - wrong - right
    unproved = f", {others} not compared" if others else ""
    return [*lines, f"{len(rows)} trials: {right} right, {wrong} wrong{unproved}"]
