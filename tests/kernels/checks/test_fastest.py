"""The choice of the fastest backend, with invented results and times."""

import pytest
import torch

from spikevrt_kernels.checks import fastest as module
from spikevrt_kernels.checks.comparison import LARGE
from spikevrt_kernels.checks.fastest import Ask, Trials, choices, trial_count
from spikevrt_kernels.checks.trials import NO_MEMORY, RIGHT, UNPROVED, WRONG, Machine, Row
from spikevrt_kernels.core.backends import BackendError
from spikevrt_kernels.core.case import mixed, pure
from spikevrt_kernels.temporal_attention.spec import temporal_attention_case

SMALL, BIG = temporal_attention_case(1, 8, 2, 2, 3, 3, 2), temporal_attention_case(1, 8, 2, 2, 64, 64, 2)
OP, BF16 = SMALL.op, mixed(torch.bfloat16)
TRIALS = Trials((SMALL,), (SMALL, BIG), (SMALL,))
ALL = ("triton", "sdpa", "naive")
SECONDS = {"triton": 0.002, "sdpa": 0.005, "naive": 0.009}
MACHINE = Machine(torch.device("cpu"), 4)


@pytest.fixture
def world(monkeypatch):
    """(backend, "float32" | "large" | "small" | "time") -> (verdict, reason); all others are right."""
    faults, asked = {}, []

    def kind(trial):
        return "large" if trial.yardstick == LARGE else "float32" if trial.precision == pure(torch.float32) else "small"

    def prove(trials, machine):
        asked.extend((t.backend, kind(t), machine.workers) for t in trials)
        return [Row(*t[:3], *faults.get((t.backend, kind(t)), (RIGHT,))) for t in trials]

    def take_times(trials, machine):
        asked.extend((t.backend, "time", machine.workers) for t in trials)
        fine = [Row(*t[:3], RIGHT, seconds=SECONDS[t.backend]) for t in trials]
        return [Row(*r[:3], *faults[r.backend, "time"]) if (r.backend, "time") in faults else r for r in fine]

    monkeypatch.setattr(module, "prove", prove)
    monkeypatch.setattr(module, "take_times", take_times)
    return faults, asked


def choose(backends=ALL, precision=BF16, timed=True):
    (found,) = choices(Ask({OP: TRIALS}, {OP: backends}, precision, True, timed), MACHINE)
    return found


def test_the_fastest_is_taken_and_the_line_says_the_times(world, monkeypatch):
    found = choose()
    assert found.taken == "triton"
    assert str(found) == f"{OP} takes triton, 4.0 ms (sdpa: 10.0 ms; naive: 18.0 ms)"
    monkeypatch.setitem(SECONDS, "triton", 1.0)
    assert choose().taken == "sdpa"


def test_kernels_are_proved_side_by_side_in_both_types_and_alone_at_full_size(world):
    choose()
    asked = world[1]
    assert ("triton", "small", 4) in asked
    assert ("triton", "float32", 4) in asked
    assert ("triton", "large", 1) in asked
    assert {backend for backend, kind, _ in asked if kind in ("large", "float32")} == {"triton"}
    assert len(asked) == trial_count(Ask({OP: TRIALS}, {OP: ALL}, BF16, True))
    asked.clear()
    choose(precision=mixed(None))
    assert [kind for backend, kind, _ in asked if backend == "triton"] == ["float32", "large", "time", "time"]


@pytest.mark.parametrize("where", ["small", "float32", "large", "time"])
def test_a_wrong_one_is_left_out_with_its_reason(world, where):
    faults, asked = world
    faults["triton", where] = WRONG, "crashes (SIGSEGV) at here"
    found = choose()
    assert found.taken == "sdpa"
    assert str(found) == f"{OP} takes sdpa, 10.0 ms (triton: crashes (SIGSEGV) at here; naive: 18.0 ms)"
    timed = {backend for backend, kind, _ in asked if kind == "time"}
    assert timed == ({"sdpa", "naive", "triton"} if where == "time" else {"sdpa", "naive"})


def test_out_of_memory_costs_a_backend_its_time_and_no_more(world):
    faults, _ = world
    faults["naive", "time"] = NO_MEMORY, "out of memory at B1"
    assert str(choose()).endswith("naive: out of memory at B1)")
    assert not next(f for f in choose().findings if f.backend == "triton").short_of_memory
    faults["triton", "time"] = NO_MEMORY, "out of memory at B1"
    assert choose().taken == "sdpa"
    assert choose(("triton",)).taken == "triton", "it is right all the same"
    assert choose(("triton",)).findings[0].short_of_memory


def test_what_could_not_be_proved_is_not_taken_unless_it_is_the_large_one(world):
    faults, _ = world
    faults["triton", "large"] = UNPROVED, None
    assert choose().taken == "triton"
    faults["triton", "small"] = UNPROVED, None
    assert choose().taken == "sdpa"
    assert f"triton: no memory to compare at {SMALL.shape}" in str(choose())


def test_none_right_is_an_error_with_all_reasons(world):
    for backend in ALL:
        world[0][backend, "small"] = WRONG, f"wrong by {SECONDS[backend]}"
    line = rf"{OP}: no attention backend is right here \(triton: wrong by 0.002; sdpa.*\); sdpa by name goes untried"
    with pytest.raises(BackendError, match=line):
        _ = choose().taken


def test_one_asked_for_by_name_is_not_timed_and_raises_where_it_is_wrong(world):
    faults, asked = world
    choose(("triton",), timed=False).require("triton")
    assert "time" not in {kind for _, kind, _ in asked}
    faults["triton", "float32"] = WRONG, "wrong: off"
    with pytest.raises(BackendError, match=rf"^{OP}: attention backend triton: wrong: off; use auto or sdpa$"):
        choose(("triton",), timed=False).require("triton")
