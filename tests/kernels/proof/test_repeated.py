"""Equal work on tensors without storage is done once; what is counted, allocated and launched is as if it were not."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from spikevrt_kernels.core.case import pure, run_case
from spikevrt_kernels.core.keys import key_of
from spikevrt_kernels.core.launch import Notes, repeatable
from spikevrt_kernels.proof.memory import PeakMode, without_storage
from spikevrt_kernels.proof.operator_counter import count_operators
from spikevrt_kernels.registry import DECLARED, OPERATORS, TRITON_OPS

CPU = torch.device("cpu")


class Seeing(TorchDispatchMode):
    """Counts the operators that it sees."""

    seen = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen += 1
        return func(*args, **(kwargs or {}))


@repeatable
def doubled(x):
    """A new tensor, with a larger one on the way."""
    return torch.cat((x, x, x))[: 2 * len(x)] * 2


def counted(work, plain, monkeypatch):
    """What work allocates, moves and launches."""
    with (
        without_storage(for_cuda=True),
        PeakMode() as mode,
        mode.inside_operators(),
        count_operators(DECLARED) as traffic,
    ):
        with monkeypatch.context() as patch:
            if plain:
                patch.setattr(Notes, "call", None)
            kept = work()
        return mode.peak, mode.now, traffic, [key_of(launch) for launch in Notes.launches], kept


def test_peaks_and_counts_are_the_same(monkeypatch):
    def work():
        x = torch.empty(100)
        return [tuple(y.shape) for y in (doubled(x), doubled(x), doubled(torch.empty(7)))]

    found = counted(work, False, monkeypatch)
    assert found == counted(work, True, monkeypatch)
    assert found[-1] == [(200,), (200,), (14,)]
    assert found[0] == 4 * (100 + 200 + 300 + 200)  # x, the first result, and what the second call makes.


@pytest.mark.parametrize("backend", ["triton", "sdpa"])
@pytest.mark.parametrize("op", TRITON_OPS)
def test_operators_are_counted_as_if_all_their_calls_ran(op, backend, monkeypatch):
    def work():
        for case in OPERATORS[op].tiny * 2:
            out = run_case(case, backend, case.inputs(pure(torch.float32), CPU), None, None).out
            run_case(case, backend, case.inputs(pure(torch.float32), CPU), None, torch.ones_like(out))

    assert counted(work, False, monkeypatch) == counted(work, True, monkeypatch)


def test_equal_calls_run_once():
    calls = []

    @repeatable
    def noted(x, factor):
        calls.append(factor)
        return x * factor

    with without_storage():
        x = torch.empty(3)
        for factor in (2, 2, 3):
            noted(x, factor)
        noted(x.double(), 3)
        noted(x[1:], 3)
    assert calls == [2, 3, 3, 3]


def test_a_mode_that_must_see_every_operator_does():
    seen = []
    with without_storage(), Seeing() as mode:
        for _ in range(2):
            doubled(torch.empty(3))
            seen.append(mode.seen)
    assert seen[1] == 2 * seen[0] > 0
