"""Which backend is taken: the logic, with times and verdicts made up."""

import pytest
import torch

from spikevrt_kernels.backends import BackendError
from spikevrt_kernels.checks.operators import temporal_attention_case
from spikevrt_kernels.choice import Trials, choose, require

SMALL, LARGE = temporal_attention_case(1, 8, 2, 2, 3, 3, 2), temporal_attention_case(1, 8, 2, 2, 64, 64, 2)
TRIALS = Trials((SMALL,), (SMALL, LARGE))
ALL = ("triton", "sdpa", "naive")
SECONDS = {"triton": 0.002, "sdpa": 0.005, "naive": 0.009}


def right(case, backend):
    return None


def seconds(case, backend):
    return SECONDS[backend]


def failing(backend, error):
    def ask(case, asked):
        if asked == backend:
            raise error
        return seconds(case, asked)

    return ask


def test_the_fastest_is_taken_and_the_line_says_the_times():
    choice = choose("op", TRIALS, ALL, right, seconds)
    assert choice.taken == "triton"
    assert str(choice) == "op takes triton, 4.0 ms (sdpa: 10.0 ms; naive: 18.0 ms)"
    slow = choose("op", TRIALS, ALL, right, lambda case, backend: SECONDS[backend] if backend != "triton" else 1.0)
    assert slow.taken == "sdpa"


def test_a_wrong_one_is_left_out_with_its_reason_and_is_not_timed():
    timed = []

    def note(case, backend):
        timed.append(backend)
        return SECONDS[backend]

    def reason(case, backend):
        return "wrong: output is off by 1.0e-01" if backend == "triton" else None

    choice = choose("op", TRIALS, ALL, reason, note)
    assert choice.taken == "sdpa"
    assert str(choice) == "op takes sdpa, 10.0 ms (triton: wrong: output is off by 1.0e-01; naive: 18.0 ms)"
    assert "triton" not in timed


def test_what_cannot_run_says_why_without_its_own_name_twice():
    error = BackendError("temporal_attention: attention backend triton cannot run: sm_75 is below sm_80; use sdpa")
    choice = choose("op", TRIALS, ALL, lambda case, b: failing("triton", error)(case, b) and None, seconds)
    assert "(triton: cannot run: sm_75 is below sm_80; naive" in str(choice)


@pytest.mark.parametrize("when", ["checked", "timed"])
def test_a_kernel_that_fails_in_any_way_is_left_out(when):
    error = RuntimeError("PTX was compiled for something else\nand a long trace")
    fails = failing("triton", error)
    choice = choose(
        "op", TRIALS, ALL, *((lambda c, b: fails(c, b) and None, seconds) if when == "checked" else (right, fails))
    )
    assert choice.taken == "sdpa"
    assert f"triton: fails at {SMALL.shape}: RuntimeError: PTX was compiled for something else; naive" in str(choice)


def test_out_of_memory_costs_a_backend_its_time_and_no_more():
    memory = torch.OutOfMemoryError("CUDA out of memory")
    choice = choose("op", TRIALS, ALL, right, failing("naive", memory))
    assert choice.taken == "triton"
    assert str(choice).endswith(f"naive: out of memory at {SMALL.shape})")
    nothing_fits = choose("op", TRIALS, ALL, right, failing("triton", memory)).findings[:1]
    assert nothing_fits[0].right
    assert choose("op", TRIALS, ("triton",), right, failing("triton", memory)).taken == "triton"


def test_none_right_is_an_error_with_all_reasons():
    choice = choose("op", TRIALS, ALL, lambda case, backend: f"wrong by {SECONDS[backend]}", seconds)
    with pytest.raises(BackendError, match=r"op: no attention backend is right here \(triton: wrong by 0.002; sdpa"):
        _ = choice.taken


def test_one_asked_for_by_name_raises_where_it_is_wrong():
    require("op", TRIALS, "triton", right)
    with pytest.raises(BackendError, match=r"^op: attention backend triton: wrong: off; use auto or sdpa$"):
        require("op", TRIALS, "triton", lambda case, backend: "wrong: off")
    with pytest.raises(BackendError, match=r"attention backend triton: fails at .*: ValueError: no such"):
        require("op", TRIALS, "triton", failing("triton", ValueError("no such")))
