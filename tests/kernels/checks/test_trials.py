"""Trials in separate processes, with kernels that are broken on purpose."""

import dataclasses
from functools import partial

import pytest
import torch

from spikevrt_kernels.checks import trials
from spikevrt_kernels.checks.comparison import LARGE
from spikevrt_kernels.checks.trials import (
    CANNOT,
    NO_MEMORY,
    RIGHT,
    WRONG,
    Machine,
    Trial,
    prove,
    prove_huge,
    take_times,
    with_times,
)
from spikevrt_kernels.core.case import mixed, pure
from spikevrt_kernels.proof.memory import without_storage
from spikevrt_kernels.registry import OPERATORS
from spikevrt_kernels.temporal_attention.spec import temporal_attention_case
from tests import broken_kernels
from tests.broken_kernels import SMALL, broken

CPU = torch.device("cpu")
FLOAT32, BF16 = pure(torch.float32), mixed(torch.bfloat16)


def rows_of(fault, note=lambda name: None):
    """The broken kernel, a right one after it in its process, and `sdpa`."""
    other = dataclasses.replace(broken(None), shape="another")
    cases = [Trial(broken(fault), FLOAT32, "triton"), Trial(other, FLOAT32, "triton"), Trial(SMALL, FLOAT32, "sdpa")]
    return prove(cases, Machine(CPU, 2, note))


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (broken_kernels.exits, f"ends with code 7 at {SMALL.shape}"),
        (broken_kernels.crashes, f"crashes (SIGSEGV) at {SMALL.shape}"),
        (broken_kernels.sleeps, f"gave no answer within 4 s at {SMALL.shape}"),
        (broken_kernels.poisons, f"fails at {SMALL.shape}: RuntimeError: CUDA error: an illegal memory access"),
    ],
    ids=["exits", "crashes", "sleeps", "poisons"],
)
def test_what_breaks_its_process_costs_the_rows_of_that_process(monkeypatch, fault, reason):
    monkeypatch.setattr(trials, "PATIENCE", 4.0)
    first, second, sdpa = rows_of(fault)
    assert first.verdict == WRONG
    assert first.reason.startswith(reason)
    assert second.verdict == WRONG
    assert second.reason is not None
    assert (sdpa.verdict, sdpa.reason) == (RIGHT, None)


def test_what_cannot_run_and_what_has_no_memory_is_not_wrong():
    first, second, _ = rows_of(broken_kernels.cannot)
    assert (first.verdict, first.reason) == (CANNOT, "cannot run: sm_75 is below sm_80")
    assert second.verdict == RIGHT
    first, second, _ = rows_of(broken_kernels.out_of_memory)
    assert (first.verdict, first.reason) == (NO_MEMORY, f"out of memory at {SMALL.shape}")
    assert second.verdict == RIGHT


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (broken_kernels.no_context, f"fails at {SMALL.shape}: RuntimeError: CUDA error: out of memory"),
        (broken_kernels.is_ended, f"crashes (SIGKILL) at {SMALL.shape}"),
    ],
    ids=["context", "host"],
)
def test_a_machine_without_memory_is_no_fault_of_a_kernel(fault, reason):
    (row,) = prove([Trial(broken(fault), FLOAT32, "triton")], Machine(CPU))
    assert (row.verdict, row.reason) == (NO_MEMORY, reason)


def test_what_had_no_memory_beside_others_is_asked_again_alone(tmp_path):
    fault = partial(broken_kernels.first_has_no_memory, tmp_path)
    cases = [Trial(SMALL, FLOAT32, "sdpa"), Trial(broken(fault), FLOAT32, "triton")]
    assert [row.verdict for row in prove(cases, Machine(CPU, 2))] == [RIGHT, RIGHT]


def test_answers_are_told_as_they_come():
    told = []
    rows_of(None, told.append)
    kernel, plain = "temporal_attention triton float32", "temporal_attention sdpa float32"
    assert sorted(told) == [plain, kernel, kernel]


def test_times_are_of_right_ones_beside_their_reference_and_a_crash_there_counts():
    right, wrong = Trial(broken(None), FLOAT32, "triton"), Trial(broken(broken_kernels.row_off), FLOAT32, "triton")
    rows = with_times(prove([right, wrong], Machine(CPU)), Machine(CPU))
    assert rows[0].seconds > 0
    assert rows[0].reference_seconds > 0
    assert (rows[1].verdict, rows[1].seconds) == (WRONG, None)
    (row,) = take_times([Trial(broken(broken_kernels.exits), FLOAT32, "triton")], Machine(CPU))
    assert (row.verdict, row.reason) == (WRONG, f"ends with code 7 at {SMALL.shape}")


def test_a_large_case_is_held_against_sdpa_in_float32():
    wrong = partial(broken_kernels.in_gradient, broken_kernels.row_off)
    cases = [Trial(broken(fault), BF16, "triton", LARGE) for fault in (None, wrong)]
    first, second = prove(cases, Machine(CPU))
    assert first.verdict == RIGHT
    assert second.verdict == WRONG


def test_the_last_clip_of_many_must_be_what_it_is_alone():
    """In small, with an address that 'wraps' where there are several clips."""
    many = temporal_attention_case(3, 8, 2, 2, 4, 16, 2)
    faults = (None, broken_kernels.wraps, partial(broken_kernels.in_gradient, broken_kernels.wraps))
    rows = prove_huge([Trial(broken(fault, many), FLOAT32, "triton") for fault in faults], Machine(CPU, 4))
    assert [row.verdict for row in rows] == [RIGHT, WRONG, WRONG]
    assert rows[1].reason.startswith("wrong: output: other bits among many clips than alone at ")
    assert rows[2].reason.startswith("wrong: gradient of q")


@pytest.mark.parametrize("op", [name for name, own in OPERATORS.items() if own.floating])
def test_huge_cases_pass_what_32_bits_count(op):
    with without_storage():
        for case in OPERATORS[op].huge:
            assert max(x.numel() for x in case.inputs(pure(torch.bfloat16), CPU)) > 2**31


def test_float32_is_judged_without_tf32():
    products = torch.backends.cuda.matmul
    before, products.fp32_precision = products.fp32_precision, "tf32"
    try:
        answers = list(trials.judged_cases([Trial(broken(broken_kernels.tells_tf32), FLOAT32, "triton")], "cpu"))
    finally:
        products.fp32_precision = before
    assert "RuntimeError: products of float32 are ieee" in answers[-1][1]["reason"]
