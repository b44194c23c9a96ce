"""The comparison of backends: correct ones pass in every type, wrong ones are named."""

import dataclasses
from functools import partial

import pytest
import torch

from spikevrt_kernels.checks import comparison
from spikevrt_kernels.checks.comparison import Judge, Off, memory_of_nan, relative_errors
from spikevrt_kernels.checks.timing import Timer
from spikevrt_kernels.core.case import mixed, pure
from spikevrt_kernels.registry import OPERATORS
from spikevrt_kernels.temporal_attention.spec import temporal_attention_case
from spikevrt_kernels.voxelize.spec import voxelize_case
from tests import broken_kernels
from tests.broken_kernels import broken

CPU = torch.device("cpu")
CASES = [case for operator in OPERATORS.values() if operator.floating for case in (*operator.odd, *operator.tiny)]
SMALL = temporal_attention_case(1, 8, 2, 3, 3, 5, 2)
PRECISIONS = (pure(torch.float64), pure(torch.float32), pure(torch.float16), mixed(torch.bfloat16))


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.op}-{c.shape}".replace(" ", "-"))
def test_sdpa_is_right_in_every_type(case):
    tiny = case in OPERATORS[case.op].tiny
    for precision in PRECISIONS if tiny else PRECISIONS[1:2]:
        judge = Judge(precision, CPU)
        assert judge.reason(case, "sdpa") is None
        found = judge.compare(case, "sdpa")
        assert len(found.gradients) == len(case.names)
        assert all(0 <= e.error <= e.allowed for e in (found.out, *found.gradients))


def changed(what, scale):
    """The small case, whose `sdpa` is off: in its output, or in the gradient of one input alone."""

    def run(inputs, backend):
        if backend != "sdpa":
            return SMALL.run(inputs, backend)
        if what == "output":
            out = SMALL.run(inputs, backend)
            return out + (scale - 1) * out.detach()
        i = SMALL.names.index(what)
        off = [x if j != i else x.detach() + scale * (x - x.detach()) for j, x in enumerate(inputs)]
        return SMALL.run(off, backend)

    return dataclasses.replace(SMALL, run=run)


@pytest.mark.parametrize("precision", PRECISIONS, ids=lambda p: p.name.replace(" ", "-"))
@pytest.mark.parametrize(
    ("what", "named"), [("output", "output"), ("k", "gradient of k"), ("v", "gradient of v")], ids=["out", "dk", "dv"]
)
def test_a_wrong_backend_is_named_with_its_error(precision, what, named):
    reason = Judge(precision, CPU).reason(changed(what, 1.1), "sdpa")
    assert reason is not None
    assert reason.startswith(f"wrong: {named} is off by ")
    assert reason.endswith(f" is allowed at {SMALL.shape} in {precision.name}")


@pytest.mark.parametrize("scale", [1.1, float("nan")])
def test_a_kernel_that_is_wrong_only_without_gradients_is_wrong(scale):
    def run(inputs, backend):
        out = SMALL.run(inputs, backend)
        return out if backend != "sdpa" or torch.is_grad_enabled() else scale * out

    reason = Judge(pure(torch.float32), CPU).reason(dataclasses.replace(SMALL, run=run), "sdpa")
    assert reason is not None
    assert reason.startswith("wrong: output is off by ")


def test_a_backend_that_leaves_nan_is_wrong():
    assert "off by nan" in str(Judge(pure(torch.float32), CPU).reason(changed("output", float("nan")), "sdpa"))


def test_inference_is_judged_by_its_output_alone():
    found = Judge(pure(torch.float32), CPU, backward=False).compare(changed("v", 1.1), "sdpa")
    assert found.gradients == ()
    assert found.reason is None


def test_integers_must_be_equal():
    case = voxelize_case(9, 3, 16, 4)
    judge = Judge(pure(torch.uint8), CPU, backward=False)
    assert judge.reason(case, "numba") is None

    def off_by_one(inputs, backend):
        counts = case.run(inputs, backend)
        counts[0, 0, 0] += backend == "numba"
        return counts

    assert "wrong: output" in str(judge.reason(dataclasses.replace(case, run=off_by_one), "numba"))


@pytest.mark.parametrize("precision", PRECISIONS, ids=lambda p: p.name.replace(" ", "-"))
@pytest.mark.parametrize(
    ("fault", "named"),
    [
        (broken_kernels.wrong_elements, "output is off by "),
        (broken_kernels.row_off, "output is off by "),
        (broken_kernels.stale_tile, "output, gradient of "),
        (broken_kernels.unwritten, "output is off by nan"),
        (partial(broken_kernels.in_gradient, broken_kernels.wrong_elements), "gradient of "),
        (partial(broken_kernels.in_gradient, broken_kernels.row_off), "gradient of "),
        (partial(broken_kernels.in_gradient, broken_kernels.stale_tile), "gradient of q, "),
    ],
    ids=["elements", "row", "stale", "unwritten", "gradient-elements", "gradient-row", "gradient-stale"],
)
def test_kernels_broken_on_purpose_are_caught(monkeypatch, fault, named, precision):
    monkeypatch.setitem(broken_kernels.STATE, "runs", 0)
    case = broken(fault, temporal_attention_case(2, 16, 3, 3, 16, 32, 2))
    reason = str(Judge(precision, CPU).reason(case, "triton"))
    assert named in reason
    assert Judge(precision, CPU).reason(broken(None, case), "triton") is None, "without the fault it is right"


def test_a_row_is_too_small_a_part_for_the_norm_of_the_whole():
    """What each of the two errors is for."""
    exact = torch.randn(1 << 18, dtype=torch.float64)
    found = exact.clone()
    found[160:176] *= 1.05  # a row of 16 among 2^14: 0.05 / 2^7 of the norm
    off = relative_errors(found, exact)
    assert off.whole < 1e-3
    assert 0.02 < off.row < 0.06
    found = exact * (1 + 1e-3 * torch.sign(torch.randn_like(exact)))
    assert abs(relative_errors(found, exact).whole - 1e-3) < 1e-6


def test_errors_are_the_same_in_slices(monkeypatch):
    exact = torch.randn(5, 321)
    found = exact + 1e-3 * torch.randn_like(exact)
    whole = relative_errors(found, exact)
    monkeypatch.setattr(comparison, "SLICE", 320)
    sliced = relative_errors(found, exact)
    assert whole == pytest.approx(sliced, rel=1e-12)
    assert relative_errors(exact, torch.zeros_like(exact)).whole == pytest.approx(float(exact.norm()), rel=1e-6)


def test_large_errors_of_the_reference_are_no_licence():
    judge = Judge(mixed(torch.bfloat16), CPU)
    allowed = [judge.error("gradient of q", Off(0, 0), Off(own, own)).allowed for own in (1e-3, 1e-2, 2e-2, 6e-2)]
    assert allowed == pytest.approx([8e-3, 3e-2, 5e-2, 0.12])


def test_beside_a_reference_that_overflows_nothing_passes():
    infinite = Off(float("inf"), float("inf"))
    assert not Judge(pure(torch.float16), CPU).error("output", infinite, infinite).right
    assert not Judge(pure(torch.float16), CPU).error("gradient of q", Off(1.0, 1.0), Off(float("nan"), 0.0)).right


def test_a_row_may_be_off_by_what_the_whole_may_be():
    """A gradient of 24 numbers has two rows: one of them is as far off as the whole is."""
    judge = Judge(mixed(torch.bfloat16), CPU)
    assert judge.error("gradient of norm.weight", Off(2.5e-2, 2.5e-2), Off(1e-2, 1e-2)).right
    assert not judge.error("gradient of norm.weight", Off(2.5e-2, 4e-2), Off(1e-2, 1e-2)).right


def test_memory_is_nan_only_inside():
    with memory_of_nan():
        assert bool(torch.empty(64).isnan().all())
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("backward", [False, True])
def test_the_timer_runs_a_few_times_and_takes_the_median(backward, monkeypatch):
    grad_modes = []

    def run(inputs, backend):
        grad_modes.append(torch.is_grad_enabled())
        return SMALL.run(inputs, backend)

    seconds = Timer(pure(torch.float32), CPU, backward).seconds(dataclasses.replace(SMALL, run=run), "naive")
    assert 0 < seconds < 1
    assert grad_modes[0] is False, "the first run only finds the output's shape"
    assert set(grad_modes[1:]) == {backward}
