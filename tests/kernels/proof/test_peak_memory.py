"""Predicted peaks of steps whose allocations are known by hand."""

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from spikevrt_kernels.proof.peak_memory import predict_peak

SIZE = 4000
"""Bytes of a thousand floats."""


def test_temporaries_count_while_they_live():
    x = torch.randn(1000)
    assert predict_peak(lambda: x + x) == SIZE
    assert predict_peak(lambda: x.view(10, 100).t()) == 0, "a view of what was there is no new memory"
    assert predict_peak(lambda: x.exp().exp().exp().exp()) == 2 * SIZE
    assert predict_peak(lambda: [x.exp() for _ in range(3)]) == 3 * SIZE


def test_what_autograd_saves_lives_until_backward():
    x = torch.randn(1000, requires_grad=True)

    def step():
        return torch.autograd.grad(x.exp().exp().exp(), x, torch.ones(1000))

    assert predict_peak(step) == 6 * SIZE, "three saved, the gradient that came in, and one in and out of a node"


def test_fake_tensors_need_no_memory():
    with FakeTensorMode():
        x = torch.empty(10**12)
        assert predict_peak(lambda: x + 1) == 4 * 10**12
