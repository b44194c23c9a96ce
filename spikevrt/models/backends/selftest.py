"""The self-test: compares every operator with its reference, also at a model's shapes, and prints a table."""

from collections.abc import Iterable, Sequence
from functools import partial

import torch
from tqdm import tqdm

from spikevrt.config import Config
from spikevrt.models.backends.trials import operator_trials
from spikevrt.system.device import half_type
from spikevrt.system.machine import machine_lines
from spikevrt.table import format_table
from spikevrt_kernels.checks.comparison import Error, ratio
from spikevrt_kernels.checks.selftest import huge_trials, odd_trials, own_trials
from spikevrt_kernels.checks.trials import RIGHT, WRONG, Machine, Row, Trial, prove, prove_huge, with_times
from spikevrt_kernels.core.backends import why_no_kernels
from spikevrt_kernels.core.case import mixed
from spikevrt_kernels.core.launch import interpreted
from spikevrt_kernels.core.processes import cores
from spikevrt_kernels.registry import OPERATORS, TRITON_OPS

SELFTEST_HEADER = ("operator", "type", "backend", "output error", "worst gradient", "ms", "reference ms", "verdict")
INTERPRETER = "TRITON_INTERPRET=1 python -m spikevrt.selftest tries small ones in Triton's interpreter"


def trials(config: Config, device: torch.device, ops: Sequence[str]) -> list[Trial]:
    """All trials of the self-test on a device."""
    found = list(odd_trials(device, ops))
    if device.type != "cuda":
        return found
    precision = mixed(half_type(device, config.train.mixed_precision))
    for op, own in operator_trials(config, config.train.batch_size).items():
        if op not in ops:
            continue
        small = {case.key: case for case in own.checked}
        large = {case.key: case for case in own.timed if case.key not in small}
        found += own_trials(device, small.values(), precision)
        found += own_trials(device, large.values(), precision, large=True)
    return found


def try_all(wanted: Sequence[Trial], huge: Sequence[Trial], device: torch.device) -> list[Row]:
    """Check all trials side by side, then time them and run the huge ones, behind a progress bar."""
    # Times in the interpreter say nothing about a kernel.
    timed = [not (trial.backend == "triton" and interpreted()) for trial in wanted]
    with tqdm(total=len(wanted), desc="selftest", unit="trial", leave=False) as bar:
        machine = Machine(device, cores(), partial(show, bar))
        rows = prove(wanted, machine)
        bar.reset()
        bar.set_description("times")
        found = iter(with_times([row for row, own in zip(rows, timed, strict=True) if own], machine))
        largest = prove_huge(huge, machine)
    return [next(found) if own else row for row, own in zip(rows, timed, strict=True)] + largest


def show(bar: tqdm, name: str) -> None:
    """Advance the bar by one trial."""
    bar.set_postfix_str(name)
    bar.update()


def table(rows: Sequence[Row]) -> str:
    """Format the results, one line per trial."""
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
    return format_table(SELFTEST_HEADER, lines)


def error_text(error: Error | None) -> str:
    """Error and limit as `1.2e-07 of 1.0e-06`; of the worst row if that is closer to its limit."""
    if error is None:
        return "-"
    if ratio(error.row, error.row_allowed) > ratio(error.error, error.allowed):
        return f"{error.row:.1e} of {error.row_allowed:.1e} in a row"
    return f"{error.error:.1e} of {error.allowed:.1e}"


def milliseconds(seconds: float | None) -> str:
    """Seconds as milliseconds, for example `0.123`; `-` if there is no time."""
    return "-" if seconds is None else f"{1e3 * seconds:.3f}"


def untested(device: torch.device, ops: Iterable[str]) -> list[str]:
    """One line with a reason for everything that this machine could not test; empty on a GPU that runs all."""
    kernels = ", ".join(op for op in ops if op in TRITON_OPS)
    lines: list[str] = []
    reason = why_no_kernels(device)
    if reason is not None and kernels:
        lines.append(f"not tested here: the Triton kernels of {kernels}: {reason}; {INTERPRETER}")
    elif kernels and interpreted():
        lines.append(
            "not tested here: bfloat16, large shapes and the speed of Triton kernels, which need a CUDA device"
        )
    return lines


def summary(rows: Sequence[Row]) -> list[str]:
    """One line per wrong result, and the counts."""
    lines = [
        f"{row.case.op} {row.case.shape} in {row.precision.name}, {row.backend}: {row.reason}"
        for row in rows
        if row.reason is not None
    ]
    wrong, right = (sum(row.verdict == verdict for row in rows) for verdict in (WRONG, RIGHT))
    others = len(rows) - wrong - right
    unproved = f", {others} not compared" if others else ""
    return [*lines, f"{len(rows)} trials: {right} right, {wrong} wrong{unproved}"]


def selftest(config: Config, device: torch.device, chosen: Sequence[str] | None = None) -> int:
    """Run the self-test on a device and print its report.

    Args:
        config: configuration whose shapes are tried on CUDA.
        device: device to test.
        chosen: names of operators; None = all.

    Returns:
        The exit code: 1 if something is wrong, else 0.
    """
    ops = list(OPERATORS) if chosen is None else chosen
    found = try_all(trials(config, device, ops), huge_trials(device, ops), device)
    print("\n".join(machine_lines(device)), end="\n\n")
    print(table(found), end="\n\n")
    print("\n".join([*untested(device, ops), *summary(found)]))
    return int(any(row.verdict == WRONG for row in found))
