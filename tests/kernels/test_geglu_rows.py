"""The GEGLU block on a CPU without gradients: a number of rows at a time gives what all at once give."""

import pytest
import torch

from spikevrt_kernels.geglu_block import sdpa
from spikevrt_kernels.geglu_block.op import geglu_block
from spikevrt_kernels.geglu_block.reference import GEGLUWeights
from spikevrt_kernels.proof.memory import PeakMode, without_storage


def inputs(shape, hidden, dtype):
    torch.manual_seed(0)
    C = shape[-1]
    layers = [(torch.randn(o, i, dtype=dtype) / i**0.5, torch.randn(o, dtype=dtype)) for o, i in ((hidden, C),) * 2]
    weights = GEGLUWeights(*layers, (torch.randn(C, hidden, dtype=dtype) / hidden**0.5, torch.randn(C, dtype=dtype)))
    return torch.randn(shape, dtype=dtype), (torch.randn(C, dtype=dtype), torch.randn(C, dtype=dtype)), weights


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 5, 8), (2, 3, 7, 11, 24), (3, 40, 48)])
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("normed", [False, True])
def test_rows_give_what_all_at_once_give(monkeypatch, dtype, shape, scaled, normed):
    hidden = 3 * shape[-1] // 2
    monkeypatch.setattr(sdpa, "HIDDEN", 16 * hidden + 1)
    x, norm, weights = inputs(shape, hidden, dtype)
    scale = torch.linspace(0, 2, shape[0]) if scaled else None
    at_once = geglu_block(x, norm if normed else None, weights, scale, "sdpa")
    with torch.no_grad():
        by_rows = geglu_block(x, norm if normed else None, weights, scale, "sdpa")
    assert by_rows.dtype == at_once.dtype
    assert by_rows.shape == x.shape
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 5e-2}[dtype]
    assert torch.allclose(by_rows, at_once, rtol=tolerance, atol=tolerance)


def test_strides_and_no_samples_do_not_matter():
    x, norm, weights = inputs((2, 6, 10, 8), 16, torch.float64)
    with torch.no_grad():
        turned = geglu_block(x.transpose(1, 2), norm, weights, None, "sdpa")
        assert torch.allclose(turned, geglu_block(x, norm, weights, None, "sdpa").transpose(1, 2))
        assert geglu_block(x[:0], norm, weights, None, "sdpa").shape == (0, 6, 10, 8)


def test_hidden_channels_take_the_memory_of_a_few_rows():
    peaks = []
    for grads in (True, False):
        with without_storage(), PeakMode() as mode, torch.set_grad_enabled(grads):
            x, norm, weights = inputs((1, 8 * sdpa.HIDDEN // 32, 16), 32, torch.float32)
            before = mode.now
            geglu_block(x, norm, weights, None, "sdpa")
            peaks.append((mode.peak - before) / x.nbytes)
    assert peaks[1] < 2 < 4 < peaks[0]
