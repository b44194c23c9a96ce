"""The choice of backends with real kernels, and with kernels that are wrong on purpose."""

import pytest
import torch

from spikevrt.models.backends.choose import decide
from spikevrt_kernels.checks.comparison import Judge
from spikevrt_kernels.checks.fastest import Ask, Trials, choices
from spikevrt_kernels.checks.trials import Machine
from spikevrt_kernels.core.backends import BackendError
from spikevrt_kernels.core.case import pure
from spikevrt_kernels.core.names import Backends
from spikevrt_kernels.temporal_block import op
from spikevrt_kernels.temporal_block.spec import temporal_block_case

CPU = torch.device("cpu")
CASES = (temporal_block_case((1, 8, 2, None, 2, 3), 2, 1), temporal_block_case((1, 8, 2, 3, 3, 1), 2, 1))
ALL = ("triton", "sdpa", "naive")


def test_kernels_prove_right_in_processes_of_their_own(capsys):
    trials = {"temporal_block": Trials(CASES)}
    found = choices(Ask(trials, {"temporal_block": ALL}, pure(torch.float32), backward=True), Machine(CPU, 2))
    assert decide("auto", found).temporal_block == "triton"
    assert "temporal_block takes triton, not timed (sdpa: not timed; naive: not timed)" in capsys.readouterr().out
    assert decide("triton", found) == Backends.of("triton")


@pytest.mark.parametrize("case", CASES, ids=["self", "cross"])
def test_a_wrong_kernel_is_named(monkeypatch, case):
    """The fused block with the gradient of x too large by a tenth; its output is right."""
    right = op.RUN["triton"]

    def fused(x, *others):
        return right(x.detach() + 1.1 * (x - x.detach()), *others)

    monkeypatch.setitem(op.RUN, "triton", fused)
    reason = Judge(pure(torch.float32), CPU).reason(case, "triton")
    assert str(reason).startswith("wrong: gradient of x is off by 1.0e-01, ")
    assert Judge(pure(torch.float32), CPU, backward=False).reason(case, "triton") is None, "gradients do not matter"


def test_none_right_is_an_error():
    trials = {"temporal_block": Trials(CASES[:1])}
    found = choices(Ask(trials, {"temporal_block": ("imaginary",)}, pure(torch.float32), backward=True), Machine(CPU))
    with pytest.raises(BackendError, match="temporal_block: no attention backend is right here"):
        decide("auto", found)
