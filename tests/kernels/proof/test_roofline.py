"""Predicted bounds, and the counts that the published model's recorded times agree with."""

import pytest

from spikevrt_kernels.proof.roofline import GPUS, predict

A6000 = next(gpu for gpu in GPUS if gpu.name == "RTX A6000")


def test_bytes_and_flops_overlap_and_launches_do_not():
    bound = predict(A6000, 0.85 * 0.768e12, 0.3 * 154.8e12, 1000)
    assert bound.memory == pytest.approx(1.0)
    assert bound.compute == pytest.approx(0.5)
    assert bound.seconds == pytest.approx(1.003)
    assert bound.limit == "memory"
    assert predict(A6000, 1.0, 1e12, 0).limit == "compute"


def test_the_published_model_s_recorded_times():
    """1.79 s forward and about 6.0 s a checkpointed step were recorded on an A6000."""
    assert predict(A6000, 1083e9, 7.6e12, 5891).seconds == pytest.approx(1.68, abs=0.01)
    assert predict(A6000, 3869e9, 26.7e12, 18300).seconds == pytest.approx(5.98, abs=0.01)
