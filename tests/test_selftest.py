"""The self-test command: its trials, output and exit code."""

import pytest
import torch

from spikevrt.config import load_config
from spikevrt.models.backends import selftest
from spikevrt.selftest import main
from spikevrt_kernels.checks import selftest as checks
from spikevrt_kernels.checks.comparison import EXACT, LARGE
from spikevrt_kernels.checks.trials import Trial
from spikevrt_kernels.core.case import mixed, pure
from spikevrt_kernels.core.launch import interpreted
from tests import broken_kernels
from tests.broken_kernels import broken

needs_no_interpreter = pytest.mark.skipif(interpreted(), reason="says what a machine without it cannot test")


@needs_no_interpreter
def test_a_machine_without_a_gpu_tests_what_it_can_and_says_what_it_cannot(monkeypatch, capsys):
    monkeypatch.setattr(checks, "CPU_TYPES", (pure(torch.float32),))
    assert main(["--op", "temporal_attention", "voxelize", "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    head, table, foot = out.split("\n\n")
    assert f"torch {torch.__version__}, triton " in head
    assert "driver" in head or head.endswith("no CUDA device")
    lines = table.splitlines()[2:]
    assert len(lines) == 2 + 2
    assert all(line.endswith(" right") for line in lines)
    assert foot.splitlines()[0].startswith("not tested here: the Triton kernels of temporal_attention: ")
    assert "TRITON_INTERPRET=1 python -m spikevrt.selftest" in foot
    assert foot.splitlines()[-1] == "4 trials: 4 right, 0 wrong"


def broken_trials(fault):
    """In place of all trials: one whose kernel has a fault."""
    return lambda config, device, ops: [Trial(broken(fault), pure(torch.float32), "triton")]


@pytest.mark.parametrize(
    ("fault", "code", "text", "count"),
    [
        (broken_kernels.row_off, 1, "float32, triton: wrong: output is off by ", "0 right, 1 wrong"),
        (broken_kernels.exits, 1, "float32, triton: ends with code 7 at ", "0 right, 1 wrong"),
        (broken_kernels.out_of_memory, 0, "no memory", "0 right, 0 wrong, 1 not compared"),
        (None, 0, " right", "1 right, 0 wrong"),
    ],
    ids=["wrong", "exits", "memory", "right"],
)
def test_a_fault_is_a_row_a_line_and_an_exit_code(monkeypatch, capsys, fault, code, text, count):
    monkeypatch.setattr(selftest, "trials", broken_trials(fault))
    assert main(["--op", "temporal_attention", "--device", "cpu"]) == code
    out = capsys.readouterr().out
    assert text in out
    assert count in out


@pytest.mark.parametrize("bf16", [False, True])
def test_on_cuda_every_kernel_and_the_models_shapes_are_tried(monkeypatch, bf16):
    monkeypatch.setattr(checks, "why_no_kernels", lambda device: None)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16)
    found = selftest.trials(load_config("default"), torch.device("cuda"), ["temporal_block", "voxelize"])
    half = mixed(torch.bfloat16 if bf16 else torch.float16)
    own = [t for t in found if t.case.shape == "self B2-C96-T5-H256W256"]
    assert [(t.precision, t.backend, t.yardstick) for t in own] == [(half, "triton", LARGE), (half, "sdpa", LARGE)]
    cut = [t for t in found if t.case.shape == "self B2-C96-T5-H64W64"]
    assert [(t.precision, t.backend, t.yardstick) for t in cut] == [(half, "triton", EXACT), (half, "sdpa", EXACT)]
    odd = [t for t in found if t.case.shape == "self B2-C24-T3-H33W17" and t.backend == "triton"]
    names = {t.precision.name for t in odd}
    assert {"float32", "float16", "float16 autocast"} <= names
    assert ("bfloat16 autocast" in names) == bf16
    assert {t.case.op for t in found} == {"temporal_block", "voxelize"}


def test_help_teaches(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capsys.readouterr().out
    assert "TRITON_INTERPRET=1 python -m spikevrt.selftest" in out
    assert "Exit code 1" in out
