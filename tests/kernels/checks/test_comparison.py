"""The judge of backends: right ones pass in every type, wrong ones are named."""

import dataclasses

import pytest
import torch

from spikevrt_kernels.checks.case import mixed, pure
from spikevrt_kernels.checks.comparison import Judge
from spikevrt_kernels.checks.operators import OPERATORS, temporal_attention_case, voxelize_case
from spikevrt_kernels.checks.timing import Timer
from spikevrt_kernels.checks.traces import without_traces

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
        comparison = judge.compare(case, "sdpa")
        assert len(comparison.gradients) == len(case.names)
        assert all(0 <= e.error <= e.allowed for e in (comparison.out, *comparison.gradients))


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
    comparison = Judge(pure(torch.float32), CPU, backward=False).compare(changed("v", 1.1), "sdpa")
    assert comparison.gradients == ()
    assert comparison.reason is None


def test_integers_must_be_equal():
    case = voxelize_case(9, 3, 16, 4)
    judge = Judge(pure(torch.uint8), CPU, backward=False)
    assert judge.reason(case, "numba") is None

    def off_by_one(inputs, backend):
        counts = case.run(inputs, backend)
        counts[0, 0, 0] += backend == "numba"
        return counts

    assert "wrong: output" in str(judge.reason(dataclasses.replace(case, run=off_by_one), "numba"))


def test_checks_leave_no_trace_in_the_random_state():
    torch.manual_seed(3)
    wanted = torch.randn(4)
    torch.manual_seed(3)
    with without_traces(CPU):
        Judge(pure(torch.float32), CPU).reason(SMALL, "sdpa")
        torch.manual_seed(7)
        torch.rand(3)
    assert torch.equal(torch.randn(4), wanted)


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
