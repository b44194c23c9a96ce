"""The kernels under the judge, right and made wrong on purpose."""

import pytest
import torch

from spikevrt.models.backend_choice import Backends, prove
from spikevrt_kernels.backends import BackendError
from spikevrt_kernels.checks.case import pure
from spikevrt_kernels.checks.comparison import Judge
from spikevrt_kernels.checks.operators import temporal_block_case
from spikevrt_kernels.choice import Trials
from spikevrt_kernels.temporal_block import op

CPU = torch.device("cpu")
CASES = (temporal_block_case(1, 8, 2, None, 2, 3, 2, 1), temporal_block_case(1, 8, 2, 3, 3, 1, 2, 1))
TRIALS = {"temporal_block": Trials(CASES, CASES)}


def seconds(case, backend):
    return {"triton": 0.001, "sdpa": 0.002, "naive": 0.003}[backend]


@pytest.fixture
def wrong(monkeypatch):
    """The fused block with the gradient of x too large by a tenth; its output is right."""
    right = op.temporal_block_fused

    def fused(x, *others):
        return right(x.detach() + 1.1 * (x - x.detach()), *others)

    monkeypatch.setattr(op, "temporal_block_fused", fused)


def test_auto_takes_a_kernel_that_is_right(capsys):
    reason = Judge(pure(torch.float32), CPU).reason
    assert prove("auto", TRIALS, reason, seconds).temporal_block == "triton"
    assert "temporal_block takes triton, 2.0 ms (sdpa: 4.0 ms; naive: 6.0 ms)" in capsys.readouterr().out
    assert prove("triton", TRIALS, reason, seconds) == Backends("triton", "triton")


def test_a_wrong_kernel_is_left_out_with_its_reason(wrong, capsys):
    reason = Judge(pure(torch.float32), CPU).reason
    assert prove("auto", TRIALS, reason, seconds).temporal_block == "sdpa"
    assert "(triton: wrong: gradient of x is off by 1.0e-01, " in capsys.readouterr().out
    with pytest.raises(BackendError, match="temporal_block: attention backend triton: wrong: gradient of x is off by"):
        prove("triton", TRIALS, reason, seconds)
    output_alone = Judge(pure(torch.float32), CPU, backward=False).reason
    assert prove("triton", TRIALS, output_alone, seconds).temporal_block == "triton", "gradients do not matter there"


def test_a_kernel_that_runs_out_of_memory_is_not_fatal(monkeypatch, capsys):
    def fused(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(op, "temporal_block_fused", fused)
    reason = Judge(pure(torch.float32), CPU).reason
    assert prove("auto", TRIALS, reason, seconds).temporal_block == "sdpa"
    assert f"triton: out of memory at {CASES[0].shape}" in capsys.readouterr().out
