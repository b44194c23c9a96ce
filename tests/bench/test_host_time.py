"""Microseconds of Python per call: measured on the launches that a GPU would receive."""

import pytest

from bench import host_time
from spikevrt_kernels.proof.no_launch import no_launch

LAUNCHES = {  # operator: kernels of a forward with gradients and its backward
    "self block": 5,
    "cross block": 6,
    "window attention": 6,
    "mutual window attention": 8,
    "attention along time": 2,
}
FORWARD = {"window attention": 2, "mutual window attention": 3}
"""Kernels of a forward, where there are several: one expands the bias."""


@pytest.mark.parametrize("operator", host_time.TIMED_OPERATORS)
def test_each_direction_of_each_operator_is_launched(operator):
    with no_launch() as record:
        row = host_time.time_operator(operator, host_time.TIMED_OPERATORS[operator](), repeats=3)
    calls = 3 * (host_time.WARM_UP + 3) + 1
    both = host_time.WARM_UP + 3
    assert len(record.launches) == (calls - both) * FORWARD.get(operator, 1) + both * LAUNCHES[operator]
    assert 0 < row.inference < row.backward


def test_the_table_holds_every_operator(capsys, monkeypatch):
    monkeypatch.setattr(host_time, "WARM_UP", 1)
    host_time.main(["--repeats", "1"])
    printed = capsys.readouterr().out
    assert all(f"| {name} |" in printed for name in host_time.TIMED_OPERATORS)
    assert host_time.processor() in printed
