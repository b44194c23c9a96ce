"""Parts that check whether kernels are right, by the self-test's judge, and one that finds bad memory accesses."""

import subprocess
import time
from collections.abc import Iterable, Iterator

import torch

from bench.gpu.part import Finding, command, finding_of
from bench.gpu.setting import COMPUTE_SANITIZER, PRECISIONS, Setting, odd_cases, own_cases, tool
from spikevrt_kernels.checks.comparison import Comparison, Judge, excess
from spikevrt_kernels.checks.selftest import huge_trials
from spikevrt_kernels.checks.trials import RIGHT, WRONG, Trial, verdict
from spikevrt_kernels.checks.trials import Row as TrialRow
from spikevrt_kernels.core.case import Case, Precision
from spikevrt_kernels.registry import TRITON_OPS
from spikevrt_kernels.temporal_attention import temporal_attention

DERIVATIVE_ERROR = 0.02
"""Allowed relative error of a derivative against a difference of two losses."""
SANITIZER_PREFIX = "========="
LINES_SHOWN, LINES_KEPT = 24, 6
"""Lines of the sanitizer that become findings, and how many of them the summary repeats."""
SANITIZER_OPTIONS = ("--tool", "memcheck", "--print-limit", "5")


def smoke(setting: Setting) -> Iterator[Finding]:
    """One tiny case, forward and backward, to see whether kernels run at all."""
    start = time.perf_counter()
    yield from attempt_all(setting, odd_cases(setting, "temporal_attention", "fp32")[:1], setting.precision)
    yield Finding("note", f"smoke: {time.perf_counter() - start:.1f} s")


def odd(setting: Setting, op: str, precision: str) -> Iterator[Finding]:
    """An operator on shapes that its tiles do not divide, in one number type."""
    return attempt_all(setting, odd_cases(setting, op, precision), PRECISIONS[precision])


def own(setting: Setting, op: str, index: str) -> Iterator[Finding]:
    """An operator at one of the model's shapes, reduced so that float64 fits into memory."""
    return attempt_all(setting, own_cases(setting, op)[int(index) :][:1], setting.precision)


def huge(setting: Setting) -> Iterator[Finding]:
    """Kernels on more than 2^31 elements; only a GPU has memory for these shapes."""
    trials = huge_trials(setting.device, TRITON_OPS)
    if not trials:
        yield Finding("note", "more than 2^31 elements: only where kernels run")
    yield from attempts(setting, trials)


def attempt_all(setting: Setting, cases: Iterable[Case], precision: Precision) -> Iterator[Finding]:
    """Check the Triton kernels on every case, with all gradients."""
    return attempts(setting, [Trial(case, precision, setting.backend("triton")) for case in cases])


def attempts(setting: Setting, trials: Iterable[Trial]) -> Iterator[Finding]:
    """Check every trial, also after one that is wrong.

    Raises:
        RuntimeError: a kernel destroyed the GPU's context, so this process can check nothing more.
    """
    for trial in trials:
        yield attempt(setting, trial)
        setting.synchronise()


def attempt(setting: Setting, trial: Trial) -> Finding:
    """Check one case."""
    start = time.perf_counter()
    judge = Judge(trial.precision, setting.device, trial.backward, trial.yardstick)
    judged = TrialRow(*trial[:3], **verdict(judge, trial))
    return finding_of(
        "check",
        f"{judged.case.op} {judged.case.shape} {judged.precision.name}: {found(judged)}",
        bad=judged.verdict == WRONG,
        verdict=judged.verdict,
        excess=worst(judged),
        seconds=round(time.perf_counter() - start, 1),
        errors={} if judged.comparison is None else errors(judged.comparison),
    )


def found(judged: TrialRow) -> str:
    """The verdict in words, with the error nearest to its limit."""
    if judged.comparison is None or judged.verdict != RIGHT:
        return judged.reason or judged.verdict
    nearest = max((judged.comparison.out, *judged.comparison.gradients), key=excess)
    worst_row = f", worst row {nearest.row:.1e} of {nearest.row_allowed:.1e}"
    return f"{nearest.what} {nearest.error:.1e} of {nearest.allowed:.1e}{worst_row}"


def worst(judged: TrialRow) -> float:
    """The largest error in units of the allowed error."""
    if judged.comparison is None:
        return float("inf") if judged.verdict == WRONG else 0.0
    return max(map(excess, (judged.comparison.out, *judged.comparison.gradients)))


def errors(comparison: Comparison) -> dict[str, tuple[float, ...]]:
    """Errors of output and gradients by name: of the whole tensor, allowed, of its worst row, allowed."""
    return {e.what: (e.error, e.allowed, e.row, e.row_allowed) for e in (comparison.out, *comparison.gradients)}


def dropout(setting: Setting) -> Iterator[Finding]:
    """Dropout in float32: equal seeds give equal bits, and the gradient agrees with a difference of two losses."""
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
    yield finding_of(
        "check", text, bad=not same or off > DERIVATIVE_ERROR, excess=off / DERIVATIVE_ERROR if same else float("inf")
    )


def under_sanitizer(setting: Setting, job: str, *arguments: str) -> Iterator[Finding]:
    """Run a part under compute-sanitizer; the lines of its output are findings."""
    sanitizer = tool(COMPUTE_SANITIZER)
    if sanitizer is None:
        yield Finding("note", "compute-sanitizer is not on this machine")
        return
    watched = [sanitizer, *SANITIZER_OPTIONS, *command(setting.dry, job, *arguments)]
    with subprocess.Popen(watched, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        shown = 0
        for line in process.stdout:
            if line.startswith(SANITIZER_PREFIX) and shown < LINES_SHOWN:
                text = f"{job} {' '.join(arguments)}: {line.removeprefix(SANITIZER_PREFIX).strip()}"
                yield Finding("sanitizer", text, keep=shown < LINES_KEPT)
                shown += 1
            else:
                print(line, end="", flush=True)
