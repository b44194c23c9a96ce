"""Parts that ask whether kernels are right, by the project's own judge."""

import time
from collections.abc import Iterable, Iterator

import torch

from bench.gpu.cases import odd_cases, own_cases
from bench.gpu.rows import ReportRow, row_of
from bench.gpu.setting import PRECISIONS, Setting
from spikevrt_kernels.checks.comparison import Comparison, Judge, excess
from spikevrt_kernels.checks.selftest import huge_trials
from spikevrt_kernels.checks.trials import RIGHT, WRONG, Row, Trial, verdict
from spikevrt_kernels.core.backends import TRITON_OPS
from spikevrt_kernels.core.case import Case, Precision
from spikevrt_kernels.temporal_attention import temporal_attention

DERIVATIVE = 0.02
"""What a gradient may be off from a difference of two losses, relatively."""


def smoke(setting: Setting) -> Iterator[ReportRow]:
    """One tiny case, forward and backward: does anything run at all?"""
    start = time.perf_counter()
    yield from attempt_all(setting, odd_cases(setting, "temporal_attention", "fp32")[:1], setting.precision)
    yield ReportRow("note", f"smoke: {time.perf_counter() - start:.1f} s")


def odd(setting: Setting, op: str, precision: str) -> Iterator[ReportRow]:
    """An operator on its odd shapes in one type."""
    return attempt_all(setting, odd_cases(setting, op, precision), PRECISIONS[precision])


def own(setting: Setting, op: str, index: str) -> Iterator[ReportRow]:
    """One of the shapes at which the model runs an operator, cut to what float64 has room for."""
    return attempt_all(setting, own_cases(setting, op)[int(index) :][:1], setting.precision)


def huge(setting: Setting) -> Iterator[ReportRow]:
    """Kernels on more than 2^31 elements; the shapes have no room but on a GPU."""
    trials = huge_trials(setting.device, TRITON_OPS)
    if not trials:
        yield ReportRow("note", "more than 2^31 elements: only where kernels run")
    yield from attempts(setting, trials)


def attempt_all(setting: Setting, cases: Iterable[Case], precision: Precision) -> Iterator[ReportRow]:
    """Every case, with all gradients, by the kernels."""
    return attempts(setting, [Trial(case, precision, setting.backend("triton")) for case in cases])


def attempts(setting: Setting, trials: Iterable[Trial]) -> Iterator[ReportRow]:
    """Every trial, whatever the ones before it gave.

    Raises:
        RuntimeError: the GPU's context is gone; nothing that this process does next would tell anything.
    """
    for trial in trials:
        yield attempt(setting, trial)
        setting.synchronise()


def attempt(setting: Setting, trial: Trial) -> ReportRow:
    """Judge one case."""
    start = time.perf_counter()
    judge = Judge(trial.precision, setting.device, trial.backward, trial.yardstick)
    row = Row(*trial[:3], **verdict(judge, trial))
    return row_of(
        "check",
        f"{row.case.op} {row.case.shape} {row.precision.name}: {found(row)}",
        bad=row.verdict == WRONG,
        verdict=row.verdict,
        excess=worst(row),
        seconds=round(time.perf_counter() - start, 1),
        errors={} if row.comparison is None else errors(row.comparison),
    )


def found(row: Row) -> str:
    """The verdict in words, with the figure nearest to what is allowed."""
    if row.comparison is None or row.verdict != RIGHT:
        return row.reason or row.verdict
    nearest = max((row.comparison.out, *row.comparison.gradients), key=excess)
    worst_row = f", worst row {nearest.row:.1e} of {nearest.row_allowed:.1e}"
    return f"{nearest.what} {nearest.error:.1e} of {nearest.allowed:.1e}{worst_row}"


def worst(row: Row) -> float:
    """The largest error in units of what is allowed."""
    if row.comparison is None:
        return float("inf") if row.verdict == WRONG else 0.0
    return max(map(excess, (row.comparison.out, *row.comparison.gradients)))


def errors(comparison: Comparison) -> dict[str, tuple[float, ...]]:
    """Errors of the whole and of the worst row, each with what is allowed, of the output and of every gradient."""
    return {e.what: (e.error, e.allowed, e.row, e.row_allowed) for e in (comparison.out, *comparison.gradients)}


def dropout(setting: Setting) -> Iterator[ReportRow]:
    """With one seed the same bits twice, and a gradient that agrees with a difference of two losses, in float32."""
    torch.manual_seed(0)
    q, k, v, weight = torch.randn(4, 1, 8, 3, 9, 7, device=setting.device)

    def loss(x: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(1)
        return (temporal_attention(x, k, v, 2, 0.3, setting.backend("triton")) * weight).sum()

    x = q.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(x), x)
    way, step = torch.randn_like(q), 1e-2
    numeric = float((loss(q + step * way) - loss(q - step * way)) / (2 * step))
    exact = float((gradient * way).sum())
    same, off = float(loss(q)) == float(loss(q)), abs(numeric - exact) / max(abs(exact), 1e-6)
    text = f"dropout: same bits twice {same}; along a direction {numeric:.5f} by difference, {exact:.5f} by backward"
    yield row_of("check", text, bad=not same or off > DERIVATIVE, excess=off / DERIVATIVE if same else float("inf"))
