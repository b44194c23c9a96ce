"""Predicted lower bounds, checked against recorded times of the published model."""

import math

import pytest

from spikevrt_kernels.proof.roofline import GPUS, Work, predict, total_work

A6000 = next(gpu for gpu in GPUS if gpu.name == "RTX A6000")


def test_bytes_and_flops_overlap_and_launches_do_not():
    bound = predict(A6000, 0.85 * 0.768e12, 0.3 * 154.8e12, 1000)
    assert bound.memory == pytest.approx(1.0)
    assert bound.tensor == pytest.approx(0.5)
    assert bound.seconds == pytest.approx(1.003)
    assert bound.limit == "memory"
    assert predict(A6000, 1.0, 1e12, 0).limit == "tensor"


def test_what_a_binary_executes_binds_where_it_takes_longest():
    """An A6000 has 84 multiprocessors of 1.8 GHz, each with 4 schedulers and 16 exponentials a clock."""
    clocks = 84 * 1.8e9
    work = Work(instructions=3 * clocks * 4, exponentials=2 * clocks * 16 / 32, float32=clocks * 128 / 32)
    bound = predict(A6000, 1.0, 1.0, 0, work)
    assert (bound.issue, bound.exponentials, bound.float32) == pytest.approx((3, 2, 1))
    assert bound.limit == "issue"
    assert predict(A6000, 1.0, 1.0, 0, work._replace(instructions=0)).limit == "exponentials"
    a100 = next(gpu for gpu in GPUS if gpu.architecture == 80)
    float32 = predict(a100, 1.0, 1.0, 0, work).float32
    assert float32 == pytest.approx(84 * 1.8 / (108 * 1.41) * 2), "half as many float32 lanes"


def test_the_host_binds_where_kernels_are_short():
    bound = predict(A6000, 1e3, 1e3, 100)
    assert bound.limit == "host"
    assert bound.seconds == pytest.approx(100 * 12.5e-6)


@pytest.mark.parametrize("gpu", GPUS, ids=lambda gpu: gpu.name)
def test_clocks_and_multiprocessors_agree_with_the_tensor_rate(gpu):
    """A multiprocessor does a power of two of FLOPs a clock."""
    each = gpu.tensor_rate / (gpu.multiprocessors * gpu.clock)
    assert each == pytest.approx(2 ** round(math.log2(each)), rel=5e-3)


def test_works_add_up():
    assert total_work([Work(1, 2, 3), Work(10, 20, 30)]) == Work(11, 22, 33)


def test_the_published_model_s_recorded_times():
    """1.79 s forward and about 6.0 s a checkpointed step were recorded on an A6000."""
    assert predict(A6000, 1083e9, 7.6e12, 5891).seconds == pytest.approx(1.68, abs=0.01)
    assert predict(A6000, 3869e9, 26.7e12, 18300).seconds == pytest.approx(5.98, abs=0.01)
