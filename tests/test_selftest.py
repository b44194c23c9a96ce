"""The self-test's command: what it tries, what it prints, its exit code."""

import pytest
import torch

from spikevrt.config import load_config
from spikevrt.selftest import groups, main
from spikevrt_kernels.checks import selftest
from spikevrt_kernels.launches import interpreted
from spikevrt_kernels.temporal_attention import op

needs_no_interpreter = pytest.mark.skipif(interpreted(), reason="says what a machine without it cannot test")


@needs_no_interpreter
def test_a_machine_without_a_gpu_tests_what_it_can_and_says_what_it_cannot(capsys):
    assert main(["--op", "temporal_attention", "voxelize", "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    head, table, foot = out.split("\n\n")
    assert f"torch {torch.__version__}, triton " in head
    assert "driver" in head or head.endswith("no CUDA device")
    lines = table.splitlines()[2:]
    assert len(lines) == 3 * 2 + 2 * 2
    assert all(line.endswith(" right") for line in lines)
    assert foot.splitlines()[0].startswith("not tested here: the Triton kernels of temporal_attention: ")
    assert "TRITON_INTERPRET=1 python -m spikevrt.selftest" in foot
    assert foot.splitlines()[-1] == "10 trials: 10 right, 0 wrong"


def test_something_wrong_is_named_and_ends_with_1(monkeypatch, capsys):
    right = op.ATTEND["sdpa"]
    monkeypatch.setitem(op.ATTEND, "sdpa", lambda q, k, v, *others: right(q, k, v * 1.01, *others))
    assert main(["--op", "temporal_attention", "--device", "cpu"]) == 1
    out = capsys.readouterr().out
    assert out.count("WRONG") == 6
    assert "in float64, sdpa: wrong: " in out
    assert "0 right, 6 wrong" in out or interpreted()


def test_a_kernel_that_fails_is_wrong_and_one_without_memory_is_not(monkeypatch, capsys):
    for error, code, text in (
        (RuntimeError("no such instruction"), 1, "RuntimeError: no such instruction"),
        (torch.OutOfMemoryError("CUDA out of memory"), 0, "no memory"),
    ):

        def fail(*arguments, error=error):
            raise error

        monkeypatch.setitem(op.ATTEND, "sdpa", fail)
        assert main(["--op", "temporal_attention", "--device", "cpu"]) == code
        assert text in capsys.readouterr().out


@pytest.mark.parametrize("bf16", [False, True])
def test_on_cuda_every_kernel_and_the_models_shapes_are_tried(monkeypatch, bf16):
    monkeypatch.setattr(selftest, "why_no_kernels", lambda device: None)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16)
    found = groups(load_config("default"), torch.device("cuda"), ["temporal_block", "voxelize"])
    half = torch.bfloat16 if bf16 else torch.float16
    own = [g for g in found if g.case.shape == "self B2-C96-T5-H256W256"]
    assert [(g.precision, g.backends) for g in own] == [(selftest.mixed(half), ("triton", "sdpa"))]
    odd = [g for g in found if g.case.shape == "self B2-C24-T3-H33W17" and g.backends == ("triton",)]
    names = {g.precision.name for g in odd}
    assert {"float32", "float16", "float16 autocast"} <= names
    assert ("bfloat16 autocast" in names) == bf16
    assert {g.case.op for g in found} == {"temporal_block", "voxelize"}


def test_help_teaches(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capsys.readouterr().out
    assert "TRITON_INTERPRET=1 python -m spikevrt.selftest" in out
    assert "Exit code 1" in out
