"""Which device a run takes."""

import pytest
import torch

from spikevrt.device import choose_device


@pytest.mark.parametrize(("name", "index"), [("cuda", 0), (None, 0), ("cuda:1", 1), ("cuda:0", 0)])
def test_a_cuda_device_has_an_index(name, index, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "empty", lambda *size, device: None)
    assert choose_device(name) == torch.device("cuda", index)


def test_the_cpu_has_none_and_is_taken_where_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device() == choose_device("cpu") == torch.device("cpu")
